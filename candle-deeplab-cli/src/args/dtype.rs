//! `--dtype`: the numbers that a network computes in.

use clap::ValueEnum;

/// Numbers by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeName {
    /// 32 bits
    F32,
    /// 32 bits, of which products use 19: only with `--executor cuda-fused`
    Tf32,
    /// 16 bits, summed up in 32: only with `--executor cuda-fused`
    F16,
    /// 16 bits with the range of 32, summed up in 32: for CPUs with AVX512_BF16, and with `--executor cuda-fused`
    Bf16,
}
