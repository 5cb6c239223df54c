//! Depthwise convolution. Candle convolves each channel in a separate call, a hundred times slower than memory allows.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

use super::{element, reach};
use crate::graph::Window;

/// Depthwise convolution of `x` `[N, C, H, W]` with `kernel` `[C, 1, kh, kw]`: by a direct kernel on the CPU, and
/// composed from candle's operations elsewhere.
pub(super) fn depthwise_conv2d(x: &Tensor, kernel: &Tensor, (v, h): (Window, Window)) -> Result<Tensor> {
    let direct = x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64) && x.dtype() == kernel.dtype();
    if direct {
        x.contiguous()?.apply_op2(&kernel.contiguous()?, Depthwise { v, h })
    } else {
        composed(x, kernel, (v, h))
    }
}

/// The sum of the shifted and scaled input over the pixels of the kernel: works and differentiates on any device.
fn composed(x: &Tensor, kernel: &Tensor, (v, h): (Window, Window)) -> Result<Tensor> {
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

/// `(x, kernel) → y` on the CPU.
#[derive(Clone, Copy)]
struct Depthwise {
    v: Window,
    h: Window,
}

/// `(∂y, kernel) → ∂x` on the CPU.
struct InputGradient {
    op: Depthwise,
    rows: usize,
    cols: usize,
}

/// `(x, ∂y) → ∂kernel` on the CPU.
struct KernelGradient(Depthwise);

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise_conv2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        both_floats(self.name(), (s1, l1), (s2, l2), self)
    }

    fn bwd(&self, x: &Tensor, kernel: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, _, rows, cols) = x.dims4()?;
        let grad = grad.contiguous()?;
        let dx = grad.apply_op2_no_bwd(kernel, &InputGradient { op: *self, rows, cols })?;
        let dk = x.apply_op2_no_bwd(&grad, &KernelGradient(*self))?;
        Ok((Some(dx), Some(dk)))
    }
}

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "depthwise_conv2d_input_gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        both_floats(self.name(), (s1, l1), (s2, l2), self)
    }
}

impl CustomOp2 for KernelGradient {
    fn name(&self) -> &'static str {
        "depthwise_conv2d_kernel_gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        both_floats(self.name(), (s1, l1), (s2, l2), self)
    }
}

/// A computation on two contiguous slices with their dimensions, written once for both float types.
trait OnSlices {
    fn run<T: WithDType>(&self, a: &[T], a_dims: [usize; 4], b: &[T], b_dims: [usize; 4]) -> (Vec<T>, [usize; 4]);
}

type Arg<'a> = (&'a CpuStorage, &'a Layout);

fn both_floats(name: &str, a: Arg<'_>, b: Arg<'_>, op: &impl OnSlices) -> Result<(CpuStorage, Shape)> {
    match a.0 {
        CpuStorage::F32(_) => on_slices::<f32>(name, a, b, op),
        CpuStorage::F64(_) => on_slices::<f64>(name, a, b, op),
        _ => bail!("{name} takes f32 or f64"),
    }
}

fn on_slices<T: WithDType>(name: &str, a: Arg<'_>, b: Arg<'_>, op: &impl OnSlices) -> Result<(CpuStorage, Shape)> {
    fn slice<'a, T: WithDType>(name: &str, (storage, layout): Arg<'a>) -> Result<(&'a [T], [usize; 4])> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("{name} takes contiguous tensors") };
        let (d0, d1, d2, d3) = layout.shape().dims4()?;
        Ok((&storage.as_slice::<T>()?[start..end], [d0, d1, d2, d3]))
    }
    let ((a, a_dims), (b, b_dims)) = (slice::<T>(name, a)?, slice::<T>(name, b)?);
    let (data, dims) = op.run(a, a_dims, b, b_dims);
    Ok((T::to_cpu_storage_owned(data), Shape::from_dims(&dims)))
}

impl OnSlices for Depthwise {
    fn run<T: WithDType>(
        &self,
        x: &[T],
        [n, c, rows, cols]: [usize; 4],
        k: &[T],
        _: [usize; 4],
    ) -> (Vec<T>, [usize; 4]) {
        let dims = [n, c, self.v.output, self.h.output];
        let mut y = vec![T::zero(); dims.iter().product()];
        let planes = y.par_chunks_mut(self.v.output * self.h.output).zip(x.par_chunks(rows * cols)).enumerate();
        planes.for_each(|(plane, (y, x))| {
            let kernel = kernel_of(k, plane % c, self);
            self.runs(rows, cols, |run| {
                let (scale, y) = (kernel[run.at], &mut y[run.output..run.output + run.len]);
                match self.h.stride {
                    // Slices, which the compiler vectorises.
                    1 => add_scaled(y, &x[run.input..run.input + run.len], scale),
                    stride => add_scaled(y, x[run.input..].iter().step_by(stride), scale),
                }
            });
        });
        (y, dims)
    }
}

impl OnSlices for InputGradient {
    fn run<T: WithDType>(&self, dy: &[T], [n, c, h, w]: [usize; 4], k: &[T], _: [usize; 4]) -> (Vec<T>, [usize; 4]) {
        let dims = [n, c, self.rows, self.cols];
        let mut dx = vec![T::zero(); dims.iter().product()];
        let planes = dx.par_chunks_mut(self.rows * self.cols).zip(dy.par_chunks(h * w)).enumerate();
        planes.for_each(|(plane, (dx, dy))| {
            let kernel = kernel_of(k, plane % c, &self.op);
            self.op.runs(self.rows, self.cols, |run| {
                let scale = kernel[run.at];
                let dx = dx[run.input..].iter_mut().step_by(self.op.h.stride);
                dx.zip(&dy[run.output..run.output + run.len]).for_each(|(dx, dy)| *dx += scale * *dy);
            });
        });
        (dx, dims)
    }
}

impl OnSlices for KernelGradient {
    fn run<T: WithDType>(
        &self,
        x: &[T],
        [_, c, rows, cols]: [usize; 4],
        dy: &[T],
        [_, _, h, w]: [usize; 4],
    ) -> (Vec<T>, [usize; 4]) {
        let Depthwise { v, h: horizontal } = self.0;
        let dims = [c, 1, v.kernel, horizontal.kernel];
        let mut dk = vec![T::zero(); dims.iter().product()];
        dk.par_chunks_mut(v.kernel * horizontal.kernel).enumerate().for_each(|(channel, dk)| {
            let images = x.chunks(rows * cols).zip(dy.chunks(h * w)).skip(channel).step_by(c);
            for (x, dy) in images {
                self.0.runs(rows, cols, |run| {
                    let xs = x[run.input..].iter().step_by(horizontal.stride);
                    for (x, dy) in xs.zip(&dy[run.output..run.output + run.len]) {
                        dk[run.at] += *x * *dy;
                    }
                });
            }
        });
        (dk, dims)
    }
}

fn kernel_of<'a, T>(kernels: &'a [T], channel: usize, op: &Depthwise) -> &'a [T] {
    let area = op.v.kernel * op.h.kernel;
    &kernels[channel * area..(channel + 1) * area]
}

fn add_scaled<'a, T: WithDType>(y: &mut [T], x: impl IntoIterator<Item = &'a T>, scale: T) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += scale * *x);
}

/// A run of neighbouring outputs in one row to which one pixel of the kernel contributes: all its inputs lie inside the
/// map.
struct Run {
    /// The index of the pixel in the kernel.
    at: usize,
    output: usize,
    input: usize,
    len: usize,
}

impl Depthwise {
    /// Calls `visit` for every run of a plane of `rows` × `cols`, row by row so that an output row stays in the cache.
    fn runs(&self, rows: usize, cols: usize, mut visit: impl FnMut(Run)) {
        let Self { v, h } = self;
        let spans: Vec<_> = (0..h.kernel).map(|k| h.inside(cols, k)).collect();
        for oy in 0..v.output {
            for ky in 0..v.kernel {
                let Some(iy) = v.input(rows, oy, ky) else { continue };
                for (kx, span) in spans.iter().enumerate() {
                    if !span.is_empty() {
                        let ix = span.start * h.stride + kx * h.dilation - h.before;
                        let (output, input) = (oy * h.output + span.start, iy * cols + ix);
                        visit(Run { at: ky * h.kernel + kx, output, input, len: span.len() });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hashed, max_abs_diff};
    use super::*;
    use crate::graph::Padding;

    #[test]
    fn the_direct_kernel_and_the_composed_one_agree_with_their_gradients() {
        for (stride, dilation, padding) in
            [(1, 1, Padding::Same), (2, 1, Padding::Same), (2, 2, Padding::Symmetric(2)), (1, 9, Padding::Symmetric(9))]
        {
            let x = candle_core::Var::from_tensor(&hashed("x", &[2, 3, 8, 7])).unwrap();
            let k = candle_core::Var::from_tensor(&hashed("k", &[3, 1, 3, 3])).unwrap();
            let windows = (
                Window::new(8, 3, stride, dilation, padding).unwrap(),
                Window::new(7, 3, stride, dilation, padding).unwrap(),
            );
            let direct = depthwise_conv2d(&x, &k, windows).unwrap();
            let reference = composed(&x, &k, windows).unwrap();
            assert!(max_abs_diff(&direct, &reference) < 1e-12);
            let weights = hashed("g", direct.dims());
            let grads = |y: &Tensor| (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
            let (a, b) = (grads(&direct), grads(&reference));
            for var in [&x, &k] {
                assert!(max_abs_diff(a.get(var).unwrap(), b.get(var).unwrap()) < 1e-12);
            }
        }
    }
}
