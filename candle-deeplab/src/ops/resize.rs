//! Bilinear resizing. Candle's is serial, computes in f64 and has no gradient.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::composed::gradients_of;
use super::simd::{Float, vectorised};
use super::slices::{for_float, on_cpu, tensor, with_slices};
use crate::graph::{Axis, Lerp};

/// Resizes `x` `[N, C, H, W]` bilinearly to `(height, width)`.
///
/// With `align_corners`, the centres of corner pixels stay in place (TensorFlow DeepLab); without, pixels are areas,
/// positions are at their centres, and the border is clamped (PyTorch's default). There is no antialiasing, as in both.
///
/// # Errors
/// Where a size is zero, or candle cannot compute on the tensor's device or type.
pub fn resize_bilinear(x: &Tensor, (height, width): (usize, usize), align_corners: bool) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if [h, w, height, width].contains(&0) {
        bail!("cannot resize {h}×{w} to {height}×{width}");
    }
    match on_cpu(&[x]) {
        _ if (h, w) == (height, width) => Ok(x.clone()),
        true => x.contiguous()?.apply_op1(Resize { height, width, align_corners }),
        false => composed(x, (height, width), align_corners),
    }
}

/// The gradient of [`resize_bilinear`] from `(height, width)` for the gradient `dy` of its result.
///
/// # Errors
/// Where a size is zero, or candle cannot compute on the tensor's device or type.
pub fn resize_bilinear_backward(dy: &Tensor, (height, width): (usize, usize), align_corners: bool) -> Result<Tensor> {
    let (n, c, h, w) = dy.dims4()?;
    if [h, w, height, width].contains(&0) {
        bail!("cannot resize {height}×{width} to {h}×{w}");
    }
    if (h, w) == (height, width) {
        return Ok(dy.clone());
    }
    if !on_cpu(&[dy]) {
        let x = Tensor::zeros((n, c, height, width), dy.dtype(), dy.device())?;
        let [dx] = gradients_of([&x], dy, |[x]| composed(x, (h, w), align_corners))?;
        return Ok(dx);
    }
    let dy = dy.contiguous()?;
    let (vertical, horizontal) = (Axis::new(height, h, align_corners), Axis::new(width, w, align_corners));
    for_float!(dy.dtype(), |T| with_slices([&dy], |[dys]: [&[T]; 1]| {
        let mut dx = vec![0.0; n * c * height * width];
        let planes = dx.par_chunks_mut(height * width).zip(dys.par_chunks(h * w));
        planes.for_each_init(
            || vec![0.0; width],
            |row, (dx, dy)| {
                for (dy, lerp) in dy.chunks(w).zip(&vertical.0) {
                    row.fill(0.0);
                    for (dy, lerp) in dy.iter().zip(&horizontal.0) {
                        let far = *dy * T::of(f64::from(lerp.weight));
                        row[lerp.near] += *dy - far;
                        row[lerp.far] += far;
                    }
                    let weight = T::of(f64::from(lerp.weight));
                    add_scaled(&mut dx[lerp.near * width..][..width], row, 1.0 - weight);
                    if weight != 0.0 {
                        add_scaled(&mut dx[lerp.far * width..][..width], row, weight);
                    }
                }
            },
        );
        tensor(dx, (n, c, height, width))
    }))
}

/// `x → y` on the CPU.
struct Resize {
    height: usize,
    width: usize,
    align_corners: bool,
}

impl CustomOp1 for Resize {
    fn name(&self) -> &'static str {
        "resize_bilinear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("resize_bilinear takes contiguous tensors") };
        let (n, c, h, w) = layout.shape().dims4()?;
        let (vertical, horizontal) =
            (Axis::new(h, self.height, self.align_corners), Axis::new(w, self.width, self.align_corners));
        for_float!(storage.dtype(), |T| {
            let x = &storage.as_slice::<T>()?[start..end];
            let mut y = vec![0.0; n * c * self.height * self.width];
            let planes = y.par_chunks_mut(self.height * self.width).zip(x.par_chunks(h * w));
            planes.for_each_init(
                || vec![0.0; w],
                |row, (y, x)| {
                    // Rows first, since whole rows are blended faster than pixels are gathered.
                    for (y, lerp) in y.chunks_mut(self.width).zip(&vertical.0) {
                        let near = &x[lerp.near * w..][..w];
                        let row: &[T] = if lerp.weight == 0.0 {
                            near
                        } else {
                            blend_rows(row, near, &x[lerp.far * w..][..w], T::of(f64::from(lerp.weight)));
                            row
                        };
                        y.iter_mut().zip(&horizontal.0).for_each(|(y, lerp)| *y = blend(*lerp, row));
                    }
                },
            );
            let storage = <T as candle_core::WithDType>::to_cpu_storage_owned(y);
            Ok((storage, Shape::from_dims(&[n, c, self.height, self.width])))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, h, w) = x.dims4()?;
        resize_bilinear_backward(dy, (h, w), self.align_corners).map(Some)
    }
}

/// Interpolates in a row. A `far` of weight 0 is ignored even if it is infinite.
#[inline(always)]
fn blend<T: Float>(lerp: Lerp, row: &[T]) -> T {
    let near = row[lerp.near];
    let blended = near + (row[lerp.far] - near) * T::of(f64::from(lerp.weight));
    if lerp.weight == 0.0 { near } else { blended }
}

vectorised! {
    /// `out ← near + (far − near) · weight`
    fn blend_rows<T>(out: &mut [T], near: &[T], far: &[T], weight: T) -> () {
        let rows = out.iter_mut().zip(near.iter().zip(far));
        rows.for_each(|(out, (near, far))| *out = (*far - *near).times_plus::<FUSED>(weight, *near));
    }

    /// `to ← to + x · factor`
    fn add_scaled<T>(to: &mut [T], x: &[T], factor: T) -> () {
        to.iter_mut().zip(x).for_each(|(to, x)| *to = x.times_plus::<FUSED>(factor, *to));
    }
}

/// Composed from candle's operations: along each axis in turn, it gathers the two neighbours of every position and
/// blends them. Memory grows only with the output, and the result is differentiable on any device.
fn composed(x: &Tensor, (height, width): (usize, usize), align_corners: bool) -> Result<Tensor> {
    // The axis that grows less goes first, so that the other works on fewer elements.
    let (_, _, h, w) = x.dims4()?;
    let (first, second) = if height * w <= width * h { ((2, height), (3, width)) } else { ((3, width), (2, height)) };
    along(&along(x, first, align_corners)?, second, align_corners)
}

/// Resizes one axis.
fn along(x: &Tensor, (dim, to): (usize, usize), align_corners: bool) -> Result<Tensor> {
    let from = x.dim(dim)?;
    if from == to {
        return Ok(x.clone());
    }
    let Axis(outputs) = Axis::new(from, to, align_corners);
    let weights: Vec<f32> = outputs.iter().map(|output| output.weight).collect();
    let mut shape = [1; 4];
    shape[dim] = to;
    let weights = Tensor::from_vec(weights, &shape, x.device())?.to_dtype(x.dtype())?;
    let x = x.contiguous()?;
    let neighbour = |of: fn(&Lerp) -> usize| {
        let indices: Vec<u32> = outputs.iter().map(|output| of(output) as u32).collect();
        x.index_select(&Tensor::from_vec(indices, to, x.device())?, dim)
    };
    let (near, far) = (neighbour(|output| output.near)?, neighbour(|output| output.far)?);
    &near + (far - &near)?.broadcast_mul(&weights)?
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, hashed, max_abs_diff};
    use super::*;
    use candle_core::Device;

    fn resized(values: &[f64], to: usize, align_corners: bool) -> Vec<f64> {
        let x = Tensor::from_slice(values, (1, 1, 1, values.len()), &Device::Cpu).unwrap();
        resize_bilinear(&x, (1, to), align_corners).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn aligned_corners_keep_their_values() {
        assert_eq!(resized(&[0., 2., 4.], 5, true), [0., 1., 2., 3., 4.]);
        assert_eq!(resized(&[0., 1., 2., 3., 4.], 3, true), [0., 2., 4.]);
    }

    #[test]
    fn areas_are_sampled_at_their_centres() {
        // torch.nn.functional.interpolate(mode="bilinear", align_corners=False)
        assert_eq!(resized(&[0., 4.], 4, false), [0., 1., 3., 4.]);
    }

    #[test]
    fn one_pixel_fills_the_map() {
        assert_eq!(resized(&[3.], 4, true), [3.; 4]);
        assert_eq!(resized(&[3.], 4, false), [3.; 4]);
    }

    #[test]
    fn the_same_size_is_the_identity_even_where_the_tensor_is_a_view() {
        let x = hashed("x", &[1, 2, 4, 3]).transpose(2, 3).unwrap();
        assert_eq!(max_abs_diff(&resize_bilinear(&x, (3, 4), false).unwrap(), &x), 0.0);
    }

    #[test]
    fn a_map_of_one_column_takes_no_more_memory_than_its_result() {
        let x = hashed("x", &[1, 4, 5000, 1]);
        let y = resize_bilinear(&x, (65_536, 1), false).unwrap();
        assert_eq!(y.dims(), [1, 4, 65_536, 1]);
        assert!(resize_bilinear(&x, (0, 1), false).is_err());
    }

    #[test]
    fn the_kernel_and_candles_operations_agree() {
        for align_corners in [true, false] {
            for size in [(9, 7), (2, 3), (4, 5), (1, 1), (33, 40), (4, 9)] {
                let x = hashed("x", &[2, 3, 4, 5]);
                let y = resize_bilinear(&x, size, align_corners).unwrap();
                assert!(max_abs_diff(&y, &composed(&x, size, align_corners).unwrap()) < 1e-12);
                let dy = hashed("dy", y.dims());
                let [wanted] = gradients_of([&x], &dy, |[x]| composed(x, size, align_corners)).unwrap();
                let dx = resize_bilinear_backward(&dy, (4, 5), align_corners).unwrap();
                assert!(max_abs_diff(&dx, &wanted) < 1e-12);
            }
        }
    }

    #[test]
    fn it_has_a_gradient() {
        for align_corners in [true, false] {
            for size in [(9, 7), (2, 3), (4, 5), (1, 1)] {
                check_gradient(&hashed("x", &[2, 2, 4, 5]), |x| resize_bilinear(x, size, align_corners), "resize");
            }
        }
    }
}
