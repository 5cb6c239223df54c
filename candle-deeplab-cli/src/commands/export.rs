//! `candle-deeplab export`: a model for other runtimes.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use candle_core::Device;
use candle_deeplab::onnx::{self, Head};
use serde::Serialize;

use crate::args::{ExportArgs, ExportFormat, HeadName, OnnxArgs};
use crate::exit::Exit;
use crate::output::{Output, Report};
use crate::resolve;
use crate::target::Target;

pub(crate) fn run(args: ExportArgs) -> Result<Exit> {
    let ExportFormat::Onnx(args) = args.format;
    let output = Output::new(args.json, false);
    let report = onnx(args)?;
    output.print(&report).context("cannot print the result")?;
    Ok(Exit::Success)
}

fn onnx(args: OnnxArgs) -> Result<Exported> {
    let target = Target::new(&args.output, args.force, "-o")?;
    // Last, since the model may have to be downloaded.
    let found = resolve::model(&args.model, !args.json)?;
    let mut model = resolve::load(&found, &Device::Cpu)?;
    if let Some(stride) = args.output_stride {
        model = model.at_output_stride(stride)?;
    }
    let size = args.size.unwrap_or_else(|| model.config().preprocessing.size.network_size());
    let (head, output) = match args.head {
        HeadName::Logits => (Head::Logits, "logits"),
        HeadName::Mask => (Head::Mask, "mask"),
    };
    let bytes = onnx::export(&model, size, head).context("cannot export the model")?;
    target.write(&bytes)?;
    let (model, output_stride) = (args.model.name().to_owned(), model.config().network.output_stride);
    Ok(Exported { model, path: args.output, bytes: bytes.len(), size, output_stride, output })
}

/// What was written.
#[derive(Debug, Serialize)]
struct Exported {
    /// The model as the user named it.
    model: String,
    path: PathBuf,
    bytes: usize,
    /// Height and width.
    size: (usize, usize),
    output_stride: usize,
    output: &'static str,
}

impl Report for Exported {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let Self { path, bytes, size: (height, width), output, .. } = self;
        let (path, mb) = (path.display(), *bytes as f64 / 1e6);
        writeln!(to, "wrote {path} ({mb:.1} MB): `input` f32 [1, 3, {height}, {width}] to `{output}`")
    }
}
