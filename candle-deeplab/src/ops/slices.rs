//! Tensors as slices: what the CPU's kernels read, and how their results become tensors.

use candle_core::{DType, Device, Result, Shape, Storage, Tensor, bail};

use super::simd::Float;

/// Whether the kernels for the CPU can take these tensors: all are there, in one type, f32 or f64.
pub(super) fn on_cpu(tensors: &[&Tensor]) -> bool {
    let first = tensors.first().map(|t| t.dtype());
    matches!(first, Some(DType::F32 | DType::F64))
        && tensors.iter().all(|t| t.device().is_cpu() && Some(t.dtype()) == first)
}

/// Evaluates an expression in which `$T` is the float type of a data type.
macro_rules! for_float {
    ($dtype:expr, |$T:ident| $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            dtype => candle_core::bail!("takes f32 or f64 on the CPU, not {dtype:?}"),
        }
    };
}
pub(super) use for_float;

/// Calls `f` with the values of contiguous tensors on the CPU.
pub(super) fn with_slices<T: Float, R, const N: usize>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[T]; N]) -> Result<R>,
) -> Result<R> {
    let guards = tensors.map(|tensor| tensor.storage_and_layout());
    let mut slices: [&[T]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(storage) = &**storage else { bail!("a tensor is not on the CPU") };
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("a tensor is not contiguous") };
        *slice = &storage.as_slice::<T>()?[start..end];
    }
    f(slices)
}

/// A tensor of values that a kernel has computed.
pub(super) fn tensor<T: Float>(values: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// Cuts `[N, C, …]` into planes of `area` values and hands them out by channel: the planes of all images for channel
/// 0, for channel 1, and so on.
pub(super) fn by_channel<T>(values: &mut [T], channels: usize, area: usize) -> Vec<Vec<&mut [T]>> {
    let mut planes: Vec<Vec<&mut [T]>> = (0..channels).map(|_| Vec::new()).collect();
    for (i, plane) in values.chunks_mut(area.max(1)).enumerate() {
        planes[i % channels].push(plane);
    }
    planes
}

/// The planes of one channel in `[N, C, …]`.
pub(super) fn channel<T>(values: &[T], channels: usize, area: usize, channel: usize) -> impl Iterator<Item = &[T]> {
    values.chunks(area.max(1)).skip(channel).step_by(channels.max(1))
}

/// Checks that a gradient has the shape of what it is the gradient of.
pub(super) fn check_gradient_shape(gradient: &Tensor, wanted: &[usize]) -> Result<()> {
    if gradient.dims() != wanted {
        bail!("a gradient of shape {:?} for a result of shape {wanted:?}", gradient.dims());
    }
    Ok(())
}
