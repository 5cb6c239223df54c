//! Max pooling with padding. Candle's has no padding and a wrong gradient.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::composed::gradients_of;
use super::padded::Padded;
use super::simd::{Float, LANES, vectorised};
use super::slices::{check_gradient_shape, for_float, on_cpu, tensor, with_slices};
use super::{element, reach};
use crate::graph::Window;

/// The maximum of `x` `[N, C, H, W]` over windows; padding counts as −∞, and a window with a NaN has none else. The
/// gradient goes to the first maximum of a window, row by row, as in PyTorch and TensorFlow; on devices other than the
/// CPU, it is shared between equal maxima.
///
/// # Errors
/// Where candle cannot compute on the tensor's device or type.
pub fn max_pool2d(x: &Tensor, windows: (Window, Window)) -> Result<Tensor> {
    x.dims4()?;
    if on_cpu(&[x]) { x.contiguous()?.apply_op1(MaxPool { windows }) } else { composed(x, windows) }
}

/// The gradient of [`max_pool2d`] at `x` for the gradient `dy` of its result.
///
/// # Errors
/// Where the shapes do not fit each other.
pub fn max_pool2d_backward(x: &Tensor, windows: (Window, Window), dy: &Tensor) -> Result<Tensor> {
    let (n, c, rows, columns) = x.dims4()?;
    let (v, h) = windows;
    check_gradient_shape(dy, &[n, c, v.output, h.output])?;
    if !on_cpu(&[x, dy]) {
        let [dx] = gradients_of([x], dy, |[x]| composed(x, windows))?;
        return Ok(dx);
    }
    if x.elem_count() == 0 || dy.elem_count() == 0 {
        return x.zeros_like();
    }
    let (x, dy) = (x.contiguous()?, dy.contiguous()?);
    let op = MaxPool { windows };
    for_float!(x.dtype(), |T| with_slices([&x, &dy], |[xs, dys]: [&[T]; 2]| {
        let mut dx = vec![0.0; xs.len()];
        let (area, output_area) = (rows * columns, v.output * h.output);
        let planes = dx.par_chunks_mut(area).zip(xs.par_chunks(area).zip(dys.par_chunks(output_area)));
        let inputs: Vec<_> = (0..v.kernel * h.kernel).map(|pixel| (pixel / h.kernel, pixel % h.kernel)).collect();
        let buffers = || (op.padded(rows, columns), vec![0.0; op.pitch()], vec![NONE; op.pitch()]);
        planes.for_each_init(buffers, |(padded, maxima, pixels), (dx, (x, dy))| {
            padded.fill(x);
            for (oy, dy) in dy.chunks(h.output).enumerate() {
                op.maxima(rows, padded, oy, maxima, pixels);
                for (ox, (dy, pixel)) in dy.iter().zip(&*pixels).enumerate() {
                    if let Some((ky, kx)) = inputs.get(*pixel as usize) {
                        let (y, x) = (oy * v.stride + ky * v.dilation - v.before, ox * h.stride + kx * h.dilation);
                        dx[y * columns + x - h.before] += *dy;
                    }
                }
            }
        });
        tensor(dx, x.shape())
    }))
}

/// `x → y` on the CPU.
struct MaxPool {
    windows: (Window, Window),
}

/// The pixel of a window that has no maximum: it is all padding, or all −∞.
const NONE: u32 = u32::MAX;

impl MaxPool {
    fn padded<T: Float>(&self, rows: usize, columns: usize) -> Padded<T> {
        let (_, h) = self.windows;
        Padded::new(rows, columns, h.before, h.stride, h.reach(), T::of(f64::NEG_INFINITY))
    }

    /// The length of a row of results in whole vectors.
    fn pitch(&self) -> usize {
        self.windows.1.output.next_multiple_of(LANES)
    }

    /// Finds the maxima of a row of windows, and the first pixel of each window that has it.
    fn maxima<T: Float>(&self, rows: usize, x: &Padded<T>, oy: usize, maxima: &mut [T], pixels: &mut [u32]) {
        let (v, h) = self.windows;
        maxima.fill(T::of(f64::NEG_INFINITY));
        pixels.fill(NONE);
        for ky in 0..v.kernel {
            let Some(row) = v.input(rows, oy, ky) else { continue };
            for kx in 0..h.kernel {
                let place = x.place(row, x.before() - h.before + kx * h.dilation);
                larger(&x.values()[place..], (ky * h.kernel + kx) as u32, maxima, pixels);
            }
        }
    }
}

vectorised! {
    /// Replaces the maxima that `x` exceeds, and the pixels that they come from. NaN exceeds everything, as in PyTorch.
    fn larger<T>(x: &[T], pixel: u32, maxima: &mut [T], pixels: &mut [u32]) -> () {
        for (x, (max, from)) in x.iter().zip(maxima.iter_mut().zip(pixels)) {
            let exceeds = *x > *max || x.is_nan();
            *max = if exceeds { *x } else { *max };
            *from = if exceeds { pixel } else { *from };
        }
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("max_pool2d takes contiguous tensors") };
        let ((n, c, rows, columns), (v, h)) = (layout.shape().dims4()?, self.windows);
        for_float!(storage.dtype(), |T| {
            let x = &storage.as_slice::<T>()?[start..end];
            let mut y = vec![0.0; n * c * v.output * h.output];
            let planes = y.par_chunks_mut((v.output * h.output).max(1)).zip(x.par_chunks((rows * columns).max(1)));
            let buffers = || (self.padded(rows, columns), vec![0.0; self.pitch()], vec![NONE; self.pitch()]);
            planes.for_each_init(buffers, |(padded, maxima, pixels), (y, x)| {
                padded.fill(x);
                for (oy, y) in y.chunks_mut(h.output).enumerate() {
                    self.maxima(rows, padded, oy, maxima, pixels);
                    y.copy_from_slice(&maxima[..h.output]);
                }
            });
            let storage = <T as candle_core::WithDType>::to_cpu_storage_owned(y);
            Ok((storage, Shape::from_dims(&[n, c, v.output, h.output])))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        max_pool2d_backward(x, self.windows, dy).map(Some)
    }
}

/// Composed from candle's `maximum`, so it works and differentiates on any device; a gradient is shared between equal
/// maxima.
fn composed(x: &Tensor, (v, h): (Window, Window)) -> Result<Tensor> {
    let lowest = f64::from(f32::NEG_INFINITY);
    let x = reach(&reach(x, 2, &v, lowest)?, 3, &h, lowest)?;
    // Rows first, then columns: 2k maxima instead of k².
    let rows = maximum((0..v.kernel).map(|ky| element(&x, 2, &v, ky)))?;
    maximum((0..h.kernel).map(|kx| element(&rows, 3, &h, kx)))
}

fn maximum(mut terms: impl Iterator<Item = Result<Tensor>>) -> Result<Tensor> {
    let first = terms.next().unwrap_or_else(|| candle_core::bail!("max pooling with an empty window"))?;
    terms.try_fold(first, |max, term| max.maximum(&term?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, hashed, max_abs_diff};
    use super::*;
    use crate::graph::Padding;
    use candle_core::Device;

    fn windows(rows: usize, cols: usize, kernel: usize, stride: usize, padding: Padding) -> (Window, Window) {
        let window = |side| Window::new(side, kernel, stride, 1, padding).unwrap();
        (window(rows), window(cols))
    }

    #[test]
    fn same_pads_an_even_side_after_and_padding_never_wins() {
        let x = Tensor::from_vec((1..=16).map(|v| -f64::from(v)).collect(), (1, 1, 4, 4), &Device::Cpu).unwrap();
        let y = max_pool2d(&x, windows(4, 4, 3, 2, Padding::Same)).unwrap();
        assert_eq!(y.flatten_all().unwrap().to_vec1::<f64>().unwrap(), [-1., -3., -9., -11.]);
    }

    #[test]
    fn a_window_of_one_pixel_is_a_stride() {
        let x = hashed("x", &[1, 1, 3, 3]);
        let y = max_pool2d(&x, windows(3, 3, 1, 2, Padding::Symmetric(0))).unwrap();
        let x: Vec<f64> = x.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(y.flatten_all().unwrap().to_vec1::<f64>().unwrap(), [x[0], x[2], x[6], x[8]]);
    }

    #[test]
    fn the_gradient_goes_to_the_first_of_equal_maxima() {
        let x = Tensor::from_vec(vec![1f64, 2., 2., 2., 2., 0.], (1, 1, 2, 3), &Device::Cpu).unwrap();
        let dy = Tensor::from_vec(vec![1f64, 10.], (1, 1, 1, 2), &Device::Cpu).unwrap();
        let dx = max_pool2d_backward(&x, windows(2, 3, 2, 1, Padding::Symmetric(0)), &dy).unwrap();
        assert_eq!(dx.flatten_all().unwrap().to_vec1::<f64>().unwrap(), [0., 11., 0., 0., 0., 0.]);
    }

    #[test]
    fn nan_wins_and_windows_of_padding_have_no_maximum() {
        let x = Tensor::from_vec(vec![1f64, f64::NAN, 3.], (1, 1, 1, 3), &Device::Cpu).unwrap();
        let one = Window::new(1, 1, 1, 1, Padding::Symmetric(0)).unwrap();
        let y = max_pool2d(&x, (one, Window::new(3, 3, 3, 1, Padding::Symmetric(3)).unwrap())).unwrap();
        let y = y.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert!(y[0] == f64::NEG_INFINITY && y[1].is_nan() && y[2] == f64::NEG_INFINITY, "{y:?}");
    }

    #[test]
    fn the_kernel_and_candles_operations_agree() {
        for (kernel, stride, dilation) in [(3, 2, 1), (2, 3, 1), (3, 1, 4), (3, 1, 9)] {
            let x = hashed("x", &[2, 3, 9, 7]);
            let padding = Padding::Symmetric(kernel / 2 * dilation);
            let windows = [9, 7].map(|side| Window::new(side, kernel, stride, dilation, padding).unwrap()).into();
            let y = max_pool2d(&x, windows).unwrap();
            assert_eq!(max_abs_diff(&y, &composed(&x, windows).unwrap()), 0.0);
            let dy = hashed("dy", y.dims());
            let [wanted] = gradients_of([&x], &dy, |[x]| composed(x, windows)).unwrap();
            assert!(max_abs_diff(&max_pool2d_backward(&x, windows, &dy).unwrap(), &wanted) < 1e-12);
        }
    }

    #[test]
    fn it_has_a_gradient() {
        for (kernel, stride, padding) in
            [(2, 2, Padding::Symmetric(0)), (3, 2, Padding::Same), (3, 2, Padding::Symmetric(1))]
        {
            let x = hashed("x", &[2, 3, 6, 5]);
            check_gradient(&x, |x| max_pool2d(x, windows(6, 5, kernel, stride, padding)), "max pool");
        }
    }
}
