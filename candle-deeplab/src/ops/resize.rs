//! Bilinear resizing. candle's is serial, computes in f64 and has no gradient.

use candle_core::{Device, Result, Tensor};

/// `x` `[N, C, H, W]` resized bilinearly to `(height, width)`.
///
/// With `align_corners` corner pixels keep their place (TensorFlow DeepLab); without, pixels are areas, positions are
/// at their centres, and the border is clamped (PyTorch's default). No antialiasing in either, as in both.
///
/// Interpolation is linear in each axis, so it is two multiplications by small matrices: parallel, and differentiable
/// on any device.
///
/// # Errors
/// Where candle cannot compute on the tensor's device or type.
pub fn resize_bilinear(x: &Tensor, (height, width): (usize, usize), align_corners: bool) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let matrix = |from, to| interpolation(from, to, align_corners, x.device())?.to_dtype(x.dtype());
    let mut y = x.contiguous()?;
    if w != width {
        y = y.reshape((n * c * h, w))?.matmul(&matrix(w, width)?.t()?)?;
    }
    if h != height {
        y = matrix(h, height)?.unsqueeze(0)?.broadcast_matmul(&y.reshape((n * c, h, width))?)?;
    }
    y.reshape((n, c, height, width))
}

/// The matrix `[to, from]` whose rows hold each output's two weights. Positions are computed in f32, as TensorFlow and
/// PyTorch do.
fn interpolation(from: usize, to: usize, align_corners: bool, device: &Device) -> Result<Tensor> {
    let mut matrix = vec![0f32; to * from];
    for (i, row) in matrix.chunks_mut(from.max(1)).enumerate() {
        let position = source_position(i, from, to, align_corners);
        let low = (position.floor() as usize).min(from - 1);
        let high = (low + 1).min(from - 1);
        let weight = position - low as f32;
        row[low] += 1.0 - weight;
        row[high] += weight;
    }
    Tensor::from_vec(matrix, (to, from), device)
}

/// Where the output's pixel `i` lies in the input, in input pixels.
pub(crate) fn source_position(i: usize, from: usize, to: usize, align_corners: bool) -> f32 {
    let position = if align_corners {
        let scale = if to > 1 { (from - 1) as f32 / (to - 1) as f32 } else { 0.0 };
        i as f32 * scale
    } else {
        (i as f32 + 0.5) * (from as f32 / to as f32) - 0.5
    };
    position.clamp(0.0, (from - 1) as f32)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, hashed, max_abs_diff};
    use super::*;

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
    fn it_has_a_gradient() {
        for align_corners in [true, false] {
            for size in [(9, 7), (2, 3), (4, 5), (1, 1)] {
                check_gradient(&hashed("x", &[2, 2, 4, 5]), |x| resize_bilinear(x, size, align_corners), "resize");
            }
        }
    }
}
