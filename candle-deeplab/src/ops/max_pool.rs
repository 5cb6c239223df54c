//! Max pooling with padding. Candle's has no padding and a wrong gradient.

use candle_core::{Result, Tensor};

use super::{element, reach};
use crate::graph::Window;

/// The maximum of `x` `[N, C, H, W]` over windows; padding counts as −∞. It is composed from candle's `maximum`, so it
/// works and differentiates on any device; a gradient is shared between equal maxima.
///
/// # Errors
/// Where candle cannot compute on the tensor's device or type.
pub fn max_pool2d(x: &Tensor, (v, h): (Window, Window)) -> Result<Tensor> {
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
    use super::super::testing::{check_gradient, hashed};
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
    fn it_has_a_gradient() {
        for (kernel, stride, padding) in
            [(2, 2, Padding::Symmetric(0)), (3, 2, Padding::Same), (3, 2, Padding::Symmetric(1))]
        {
            let x = hashed("x", &[2, 3, 6, 5]);
            check_gradient(&x, |x| max_pool2d(x, windows(6, 5, kernel, stride, padding)), "max pool");
        }
    }
}
