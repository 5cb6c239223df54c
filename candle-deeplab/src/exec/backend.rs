//! The fused executors behind one interface.

use candle_core::Tensor;

use super::cpu::Cpu;
#[cfg(feature = "cuda")]
use super::cuda::Cuda;
use crate::error::Result;
use crate::graph::Value;

/// A fused executor. What its methods compute, and their errors, are those of [`Cpu`]'s.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Backend<'a> {
    Cpu(&'a Cpu),
    #[cfg(feature = "cuda")]
    Cuda(&'a Cuda),
}

impl Backend<'_> {
    pub(crate) fn logits(self, pixels: &Tensor) -> Result<Tensor> {
        match self {
            Self::Cpu(cpu) => cpu.logits(pixels),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.logits(pixels),
        }
    }

    pub(crate) fn output(self, pixels: &Tensor) -> Result<Tensor> {
        match self {
            Self::Cpu(cpu) => cpu.output(pixels),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.output(pixels),
        }
    }

    pub(crate) fn label_map(self, pixels: &Tensor) -> Result<Tensor> {
        match self {
            Self::Cpu(cpu) => cpu.label_map(pixels),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.label_map(pixels),
        }
    }

    pub(crate) fn values(self, pixels: &Tensor, nodes: &[Value]) -> Result<Option<Vec<Tensor>>> {
        match self {
            Self::Cpu(cpu) => cpu.values(pixels, nodes),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.values(pixels, nodes),
        }
    }
}
