//! Bilinear resizing. Candle's is serial, computes in f64 and has no gradient.

use candle_core::{Result, Tensor};

use crate::graph::{Axis, Lerp};

/// Resizes `x` `[N, C, H, W]` bilinearly to `(height, width)`.
///
/// With `align_corners`, the centres of corner pixels stay in place (TensorFlow DeepLab); without, pixels are areas,
/// positions are at their centres, and the border is clamped (PyTorch's default). There is no antialiasing, as in both.
///
/// Along each axis in turn, it gathers the two neighbours of every position and blends them: memory grows only with the
/// output, and the result is differentiable on any device.
///
/// # Errors
/// Where a size is zero, or candle cannot compute on the tensor's device or type.
pub fn resize_bilinear(x: &Tensor, (height, width): (usize, usize), align_corners: bool) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    if [h, w, height, width].contains(&0) {
        candle_core::bail!("cannot resize {h}×{w} to {height}×{width}");
    }
    // The axis that grows less goes first, so that the other works on fewer elements.
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
    fn it_has_a_gradient() {
        for align_corners in [true, false] {
            for size in [(9, 7), (2, 3), (4, 5), (1, 1)] {
                check_gradient(&hashed("x", &[2, 2, 4, 5]), |x| resize_bilinear(x, size, align_corners), "resize");
            }
        }
    }
}
