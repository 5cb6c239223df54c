//! Operations composed from candle's own: for devices and types without kernels of ours, and what those are tested
//! against. All of them differentiate.

use candle_core::{Result, Tensor, Var, bail};

use super::{element, reach};
use crate::graph::Window;

/// The gradients of `f`'s result for its inputs, by candle's autograd, where `dy` is the gradient of the result.
pub(super) fn gradients_of<const N: usize>(
    inputs: [&Tensor; N],
    dy: &Tensor,
    f: impl FnOnce([&Tensor; N]) -> Result<Tensor>,
) -> Result<[Tensor; N]> {
    let vars = inputs.into_iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let y = f(std::array::from_fn(|i| vars[i].as_tensor()))?;
    let gradients = (y * dy.detach())?.sum_all()?.backward()?;
    let of = |var: &Var| gradients.get(var).map_or_else(|| var.zeros_like(), |gradient| Ok(gradient.clone()));
    let gradients = vars.iter().map(of).collect::<Result<Vec<_>>>()?;
    gradients.try_into().map_err(|_| candle_core::Error::Msg("as many gradients as inputs".into()))
}

/// Convolution by candle's operations.
///
/// Candle's own convolution gets exactly the elements that it reads: its backward pass derives the input's size from
/// the output's height, and is wrong where rows or columns are left over.
pub(super) fn composed_conv2d(x: &Tensor, kernel: &Tensor, groups: usize, (v, h): (Window, Window)) -> Result<Tensor> {
    let channels = x.dim(1)?;
    let (out, per_group, kh, kw) = kernel.dims4()?;
    if (groups, out, per_group) == (channels, channels, 1) {
        return composed_depthwise(x, kernel, (v, h));
    }
    if groups == 1 && (kh, kw) == (1, 1) && v.before + v.after + h.before + h.after == 0 {
        return composed_pointwise(x, kernel, (v, h));
    }
    if v.stride != h.stride || v.dilation != h.dilation {
        bail!("conv2d takes one stride and one dilation for both axes, got {v:?} and {h:?}");
    }
    let x = reach(&reach(x, 2, &v, 0.0)?, 3, &h, 0.0)?.contiguous()?;
    x.conv2d(&kernel.contiguous()?, 0, v.stride, v.dilation, groups)
}

/// A 1×1 convolution as one matmul per image: `[out, C] × [C, h·w]`.
fn composed_pointwise(x: &Tensor, kernel: &Tensor, (v, h): (Window, Window)) -> Result<Tensor> {
    let (n, channels, _, _) = x.dims4()?;
    let out = kernel.dim(0)?;
    let x = element(&element(x, 2, &v, 0)?, 3, &h, 0)?.contiguous()?.reshape((n, channels, v.output * h.output))?;
    let kernel = kernel.reshape((1, out, channels))?;
    kernel.broadcast_matmul(&x)?.reshape((n, out, v.output, h.output))
}

/// The sum of the shifted and scaled input over the pixels of the kernel.
fn composed_depthwise(x: &Tensor, kernel: &Tensor, (v, h): (Window, Window)) -> Result<Tensor> {
    let channels = x.dim(1)?;
    let x = reach(&reach(x, 2, &v, 0.0)?, 3, &h, 0.0)?;
    let mut sum: Option<Tensor> = None;
    for ky in 0..v.kernel {
        let rows = element(&x, 2, &v, ky)?;
        for kx in 0..h.kernel {
            let scale = kernel.narrow(2, ky, 1)?.narrow(3, kx, 1)?.reshape((1, channels, 1, 1))?;
            let term = element(&rows, 3, &h, kx)?.broadcast_mul(&scale)?;
            sum = Some(match sum {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
    }
    sum.ok_or_else(|| candle_core::Error::Msg("depthwise convolution with an empty kernel".into()))
}
