//! `candle-deeplab bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::number::{MOST_THREADS, count, output_stride, size};
use super::{DeviceName, DtypeName, ModelArgs};

/// Of a batch.
const MOST_IMAGES: usize = 4096;
/// Each keeps its time.
const MOST_RUNS: usize = 1_000_000;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Where the network runs: auto, cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub(crate) device: DeviceName,

    /// Height and width of the input [default: the model's own]
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub(crate) size: Option<(usize, usize)>,

    /// Run the network at another output stride, 8, 16 or 32: less is finer and slower [default: the model's own]
    #[arg(long, value_name = "STRIDE", value_parser = output_stride)]
    pub(crate) output_stride: Option<usize>,

    /// Images in a call
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count::<MOST_IMAGES>)]
    pub(crate) batch: usize,

    /// Threads [default: one a core, or RAYON_NUM_THREADS]
    #[arg(long, value_name = "N", value_parser = count::<MOST_THREADS>)]
    pub(crate) threads: Option<usize>,

    /// Calls to time, after the first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = count::<MOST_RUNS>)]
    pub(crate) runs: usize,

    /// What runs the network
    #[arg(long, value_enum, default_value_t = ExecutorName::Auto)]
    pub(crate) executor: ExecutorName,

    /// The numbers that it computes in
    #[arg(long, value_enum, default_value_t = DtypeName::F32)]
    pub(crate) dtype: DtypeName,

    /// Say what each layer takes, too (the fused executor's layers)
    #[arg(long)]
    pub(crate) layers: bool,

    /// Write the classes it found, u8 [N, H, W], to compare with other programs' (benches/peers does)
    #[arg(long, value_name = "FILE")]
    pub(crate) save_mask: Option<PathBuf>,

    /// Replace the mask if it is already there
    #[arg(long, requires = "save_mask")]
    pub(crate) force: bool,

    /// Print one line of JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// An executor by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExecutorName {
    /// As `segment` runs it: fused kernels where the CPU has AVX2 or AVX-512, else candle's operations
    Auto,
    /// Fused kernels, with the fastest instructions of this machine, or in plain Rust
    Cpu,
    /// Fused kernels with AVX-512
    Avx512,
    /// Fused kernels with AVX2
    Avx2,
    /// Fused kernels in plain Rust
    Portable,
    /// candle's operations, one by one
    Eager,
    /// Fused kernels on a GPU, which have not yet run on one
    CudaFused,
}

impl ExecutorName {
    /// Where the network runs if the user asks for a device: an executor for GPUs needs none to be named.
    pub(crate) fn device(self, asked: DeviceName) -> DeviceName {
        if self == Self::CudaFused && asked == DeviceName::Auto { DeviceName::Cuda(0) } else { asked }
    }
}
