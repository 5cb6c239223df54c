//! The cheap steps: elementwise operations, pooling, and layout changes at the two ends of the network.

use rayon::prelude::*;

use super::denormals::Flushed;
use super::view::{View, ViewMut, position};
use crate::exec::fuse::Clamp;
use crate::graph::{Activation, Window};

/// Copies `x`.
pub(super) fn copy(x: View, out: ViewMut) {
    map(x, |x| x, out);
}

/// An activation that could not be fused into a convolution.
pub(super) fn activate(x: View, activation: Activation, out: ViewMut) {
    match activation {
        Activation::Relu => map(x, |x| Clamp::RELU.apply(x), out),
        Activation::Relu6 => map(x, |x| Clamp::RELU6.apply(x), out),
        Activation::HardSwish => map(x, |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0, out),
        // PyTorch's definition; TensorFlow's has another slope.
        Activation::HardSigmoid => map(x, |x| (x + 3.0).clamp(0.0, 6.0) / 6.0, out),
    }
}

/// `a + b`, where the sum could not be fused into a convolution.
pub(super) fn add(a: View, b: View, out: ViewMut) {
    out.for_each_pixel(|pixel, out| {
        for ((out, a), b) in out.iter_mut().zip(a.at(pixel)).zip(b.at(pixel)) {
            *out = a + b;
        }
    });
}

/// `f(x)` of each element.
fn map(x: View, f: impl Fn(f32) -> f32 + Sync, out: ViewMut) {
    out.for_each_pixel(|pixel, out| {
        for (out, x) in out.iter_mut().zip(x.at(pixel)) {
            *out = f(*x);
        }
    });
}

/// `x · weights`, element by element, or with one weight for each channel of an image.
pub(super) fn multiply(x: View, weights: View, out: ViewMut) {
    let pixels_a_weight = x.height * x.width / (weights.height * weights.width);
    out.for_each_pixel(|pixel, out| {
        for ((out, x), weight) in out.iter_mut().zip(x.at(pixel)).zip(weights.at(pixel / pixels_a_weight)) {
            *out = x * weight;
        }
    });
}

/// The maximum over a window. Padding never wins, and neither does NaN, as in candle.
pub(super) fn max_pool(x: View, (v, h): (Window, Window), out: ViewMut) {
    let (height, width) = (out.height, out.width);
    out.for_each_pixel(|pixel, out| {
        let (n, oy, ox) = position(pixel, height, width);
        out.fill(f32::NEG_INFINITY);
        for iy in (0..v.kernel).filter_map(|ky| v.input(x.height, oy, ky)) {
            for ix in (0..h.kernel).filter_map(|kx| h.input(x.width, ox, kx)) {
                for (out, x) in out.iter_mut().zip(x.at(x.pixel(n, iy, ix))) {
                    *out = out.max(*x);
                }
            }
        }
    });
}

/// The mean over height and width. Sums are f64, since a map may have a million pixels.
pub(super) fn global_pool(x: View, out: ViewMut) {
    /// How many channels a thread sums up at once: enough adjacent floats to be read at full speed.
    const GROUP: usize = 256;
    let ViewMut { data, pitch, offset, channels, .. } = out;
    let pixels = x.height * x.width;
    for (n, out) in data.chunks_exact_mut(pitch).enumerate() {
        let out = &mut out[offset..offset + channels];
        out.par_chunks_mut(GROUP).enumerate().for_each(|(group, out)| {
            let _flushed = Flushed::here();
            let mut sums = [0f64; GROUP];
            for pixel in n * pixels..(n + 1) * pixels {
                for (sum, x) in sums.iter_mut().zip(&x.at(pixel)[group * GROUP..]) {
                    *sum += f64::from(*x);
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = (sum / pixels as f64) as f32;
            }
        });
    }
}

/// `[N, C, H, W]` → a map.
pub(super) fn from_planes(planes: &[f32], out: ViewMut) {
    let (channels, plane) = (out.channels, out.height * out.width);
    out.for_each_pixel(|pixel, out| {
        let first = pixel / plane * channels * plane + pixel % plane;
        for (out, x) in out.iter_mut().zip(planes[first..].iter().step_by(plane)) {
            *out = *x;
        }
    });
}

/// A map → `[N, C, H, W]`.
pub(super) fn to_planes(x: View, planes: &mut [f32]) {
    let rows = planes.par_chunks_exact_mut(x.width).enumerate();
    rows.for_each(|(row, out)| {
        let (plane, y) = (row / x.height, row % x.height);
        let (n, channel) = (plane / x.channels, plane % x.channels);
        let first = x.pixel(n, y, 0);
        for (i, out) in out.iter_mut().enumerate() {
            *out = x.at(first + i)[channel];
        }
    });
}
