//! `candle-deeplab bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::number::{count, size};
use super::{DtypeName, ModelArgs};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Height and width of the input
    #[arg(long, value_name = "HxW", default_value = "513x513", value_parser = size)]
    pub(crate) size: (usize, usize),

    /// Images in a call
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    pub(crate) batch: usize,

    /// Threads [default: one a core, or RAYON_NUM_THREADS]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) threads: Option<usize>,

    /// Calls to time, after the first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = count)]
    pub(crate) runs: usize,

    /// What runs the network
    #[arg(long, value_enum, default_value_t = ExecutorName::Cpu)]
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

    /// Print one line of JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// An executor by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExecutorName {
    /// Fused kernels, with the fastest instructions of this machine
    Cpu,
    /// Fused kernels with AVX-512
    Avx512,
    /// Fused kernels with AVX2
    Avx2,
    /// Fused kernels in plain Rust
    Portable,
    /// candle's operations, one by one
    Eager,
}
