//! Differentiable tensor operations that candle lacks or gets wrong.
//!
//! Each works on any candle device and has a gradient that the tests check numerically. Windows come fitted to the
//! input's size ([`Window`]), so the padding of two sides may differ, as in TensorFlow's SAME.

mod activation;
mod arithmetic;
mod batch_norm;
mod composed;
mod conv2d;
#[cfg(feature = "cuda")]
mod cuda;
mod dense;
mod depthwise;
mod function;
mod matrix;
mod max_pool;
mod padded;
mod resize;
mod simd;
mod slices;
#[cfg(test)]
pub(crate) mod testing;

pub use activation::{activation, activation_backward, hard_sigmoid, hard_swish};
pub use arithmetic::{
    add, add_bias, bias_backward, concat, concat_backward, global_pool, global_pool_backward, multiply,
    multiply_backward,
};
pub use batch_norm::{Statistics, batch_norm, batch_norm_backward, batch_norm_train, batch_norm_with};
pub use conv2d::{conv2d, conv2d_backward};
pub use max_pool::{max_pool2d, max_pool2d_backward};
pub use resize::{resize_bilinear, resize_bilinear_backward};

use candle_core::{Result, Tensor};

use crate::graph::Window;

/// The part of `x` that windows read along `dim`, with its padding added: exactly [`Window::reach`] elements.
fn reach(x: &Tensor, dim: usize, window: &Window, fill: f64) -> Result<Tensor> {
    let len = x.dim(dim)?;
    let wanted = window.reach();
    let before = pad(x, dim, window.before, fill)?;
    let after = pad(x, dim, wanted.saturating_sub(window.before + len), fill)?;
    let parts: Vec<&Tensor> = [before.as_ref(), Some(x), after.as_ref()].into_iter().flatten().collect();
    let padded = if parts.len() == 1 { x.clone() } else { Tensor::cat(&parts, dim)? };
    padded.narrow(dim, 0, wanted)
}

/// `count` layers of `fill` along `dim`, shaped to be concatenated with `x`.
fn pad(x: &Tensor, dim: usize, count: usize, fill: f64) -> Result<Option<Tensor>> {
    if count == 0 {
        return Ok(None);
    }
    let mut dims = x.dims().to_vec();
    dims[dim] = count;
    Tensor::full(fill as f32, dims, x.device())?.to_dtype(x.dtype()).map(Some)
}

/// Element number `index` of each window over `x` along `dim`, where `x` comes from [`reach`].
fn element(x: &Tensor, dim: usize, window: &Window, index: usize) -> Result<Tensor> {
    let seen = x.narrow(dim, index * window.dilation, (window.output - 1) * window.stride + 1)?;
    if window.stride == 1 {
        return Ok(seen);
    }
    let step = u32::try_from(window.stride).map_err(candle_core::Error::wrap)?;
    let count = u32::try_from(window.output).map_err(candle_core::Error::wrap)?;
    let positions = (Tensor::arange(0, count, x.device())? * f64::from(step))?;
    seen.contiguous()?.index_select(&positions, dim)
}
