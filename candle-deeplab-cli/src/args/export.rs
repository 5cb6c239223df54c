//! `candle-deeplab export`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ModelArgs;
use super::number::{output_stride, size};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(subcommand)]
    pub(crate) format: ExportFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExportFormat {
    /// ONNX: the network at one input size, batch norms folded, for onnxruntime, OpenVINO and their like
    Onnx(OnnxArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OnnxArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Height and width of the input [default: the model's own]
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub(crate) size: Option<(usize, usize)>,

    /// Export the network at another output stride, 8, 16 or 32: less is finer and slower [default: the model's own]
    #[arg(long, value_name = "STRIDE", value_parser = output_stride)]
    pub(crate) output_stride: Option<usize>,

    /// What the file computes
    #[arg(long, value_enum, default_value_t = HeadName::Logits)]
    pub(crate) head: HeadName,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Replace the file if it is already there
    #[arg(long)]
    pub(crate) force: bool,

    /// Print one line of JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// A head by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HeadName {
    /// `logits`, f32 [1, classes, H, W] at the input's size
    Logits,
    /// `mask`, u8 [1, H, W]: the class of each pixel
    Mask,
}
