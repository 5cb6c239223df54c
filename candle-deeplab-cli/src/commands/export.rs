//! `candle-deeplab export`: a model for other runtimes.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use candle_deeplab::onnx::{self, Head};
use candle_deeplab::{DeepLab, Error, atomic};
use serde::Serialize;

use crate::args::{ExportArgs, ExportFormat, HeadName, OnnxArgs};
use crate::exit::Exit;
use crate::output::{Output, Report};
use crate::resolve;

pub(crate) fn run(args: ExportArgs) -> Result<Exit> {
    let ExportFormat::Onnx(args) = args.format;
    let output = Output::new(args.json, false);
    let report = onnx(args)?;
    output.print(&report).context("cannot print the result")?;
    Ok(Exit::Success)
}

fn onnx(args: OnnxArgs) -> Result<Exported> {
    let weights = resolve::model(&args.model, !args.json)?;
    let model = DeepLab::load(&weights, &Device::Cpu)
        .with_context(|| format!("cannot load the model in `{}`", weights.display()))?;
    let size = args.size.unwrap_or_else(|| model.config().preprocessing.size.network_size());
    let (head, output) = match args.head {
        HeadName::Logits => (Head::Logits, "logits"),
        HeadName::Mask => (Head::Mask, "mask"),
    };
    let bytes = onnx::export(&model, size, head).context("cannot export the model")?;
    let content = |file: &mut io::BufWriter<&mut std::fs::File>| file.write_all(&bytes);
    let path = args.output;
    match if args.force { atomic::write(&path, content) } else { atomic::write_new(&path, content) } {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            bail!("`{}` exists: replace it with `--force`, or choose another output with `-o`", path.display())
        }
        written => written.context("cannot write the output")?,
    }
    Ok(Exported { path, bytes: bytes.len(), size, output })
}

/// What was written.
#[derive(Debug, Serialize)]
struct Exported {
    path: PathBuf,
    bytes: usize,
    /// Height and width.
    size: (usize, usize),
    output: &'static str,
}

impl Report for Exported {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let Self { path, bytes, size: (height, width), output } = self;
        let (path, mb) = (path.display(), *bytes as f64 / 1e6);
        writeln!(to, "wrote {path} ({mb:.1} MB): `input` f32 [1, 3, {height}, {width}] to `{output}`")
    }
}
