//! Clipping gradients by their norm.

use candle_core::{DType, Device, Tensor};

use super::inplace;
use crate::error::Result;

/// The Euclidean norm of all gradients together.
pub(super) fn norm<'a>(gradients: impl Iterator<Item = &'a Tensor>) -> Result<f64> {
    let mut sum = 0.0;
    for gradient in gradients {
        sum += match inplace::sum_of_squares(gradient) {
            Some(square) => square,
            None => gradient.sqr()?.sum_all()?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar()?,
        };
    }
    Ok(sum.sqrt())
}

/// What gradients are multiplied by so that their norm is at most `most` (PyTorch's `clip_grad_norm_`).
pub(super) fn factor(norm: f64, most: f64) -> f64 {
    (most / (norm + 1e-6)).min(1.0)
}
