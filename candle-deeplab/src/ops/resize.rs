//! Bilinear resizing. candle's is serial, computes in f64 and has no gradient.

use std::ops::Range;

use candle_core::{Result, Tensor};

/// `x` `[N, C, H, W]` resized bilinearly to `(height, width)`.
///
/// With `align_corners` corner pixels keep their place (TensorFlow DeepLab); without, pixels are areas, positions are
/// at their centres, and the border is clamped (PyTorch's default). No antialiasing in either, as in both.
///
/// Each axis in turn gathers the two neighbours of every position and blends them: memory grows with the output alone, and
/// it is differentiable on any device.
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
    let Axis(taps) = Axis::new(from, to, align_corners);
    let weights: Vec<f32> = taps.iter().map(|tap| tap.weight).collect();
    let mut shape = [1; 4];
    shape[dim] = to;
    let weights = Tensor::from_vec(weights, &shape, x.device())?.to_dtype(x.dtype())?;
    let x = x.contiguous()?;
    let neighbour = |of: fn(&Tap) -> usize| {
        let indices: Vec<u32> = taps.iter().map(|tap| of(tap) as u32).collect();
        x.index_select(&Tensor::from_vec(indices, to, x.device())?, dim)
    };
    let (near, far) = (neighbour(|tap| tap.near)?, neighbour(|tap| tap.far)?);
    &near + (far - &near)?.broadcast_mul(&weights)?
}

/// Where the outputs along one axis lie among the inputs.
#[derive(Debug)]
pub(crate) struct Axis(pub(crate) Vec<Tap>);

/// Two neighbouring inputs, and how far between them an output is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tap {
    pub(crate) near: usize,
    pub(crate) far: usize,
    /// 0 at `near`, 1 at `far`.
    pub(crate) weight: f32,
}

impl Axis {
    /// For `to` outputs. Positions are computed in f32, as TensorFlow and PyTorch do.
    pub(crate) fn new(from: usize, to: usize, align_corners: bool) -> Self {
        let tap = |i| {
            let position = source_position(i, from, to, align_corners);
            let near = (position.floor() as usize).min(from - 1);
            Tap { near, far: (near + 1).min(from - 1), weight: position - near as f32 }
        };
        Self((0..to).map(tap).collect())
    }

    /// The inputs between the first and the last that some outputs are made of.
    pub(crate) fn sees(&self, outputs: Range<usize>) -> Range<usize> {
        match &self.0[outputs] {
            [first, .., last] => first.near..last.far + 1,
            [only] => only.near..only.far + 1,
            [] => 0..0,
        }
    }
}

impl Tap {
    /// The output between these inputs. An infinite `far` without weight counts for nothing.
    pub(crate) fn blend(self, near: f32, far: f32) -> f32 {
        if self.weight == 0.0 { near } else { near + (far - near) * self.weight }
    }
}

/// Where the output's pixel `i` lies in the input, in input pixels.
fn source_position(i: usize, from: usize, to: usize, align_corners: bool) -> f32 {
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
