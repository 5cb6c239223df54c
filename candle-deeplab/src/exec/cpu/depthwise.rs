//! Which taps a depthwise convolution's pixels see; the arithmetic is the instruction set's.

use super::isa::{Clamp, Depthwise, Kernels, Tap};
use super::view::{View, position};
use crate::graph::Window;

/// A depthwise convolution with everything around it that is fused.
#[derive(Debug)]
pub(super) struct DepthwiseConv {
    /// `[tap][channel]`
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
    /// Whether the input goes through a ReLU first.
    pub(super) relu_input: bool,
    pub(super) clamp: Clamp,
}

impl DepthwiseConv {
    /// Computes the pixels from number `first` on, as many as fit into `out`; `taps` is a place for a list.
    pub(super) fn run(
        &self,
        kernels: Kernels,
        x: &View,
        (v, h): (Window, Window),
        first: usize,
        (out, out_pitch): (&mut [f32], usize),
        taps: &mut Vec<Tap>,
    ) {
        let channels = self.bias.len();
        let pixels = (out.len() + out_pitch - channels) / out_pitch;
        let mut done = 0;
        while done < pixels {
            let (n, oy, ox) = position(first + done, v.output, h.output);
            let run = same_taps(&h, x.width, ox).min(pixels - done);
            taps.clear();
            for ky in 0..v.kernel {
                let Some(iy) = v.input(x.height, oy, ky) else { continue };
                for kx in 0..h.kernel {
                    let Some(ix) = h.input(x.width, ox, kx) else { continue };
                    taps.push(Tap { input: x.pixel(n, iy, ix) * x.pitch, weight: (ky * h.kernel + kx) * channels });
                }
            }
            kernels.depthwise(Depthwise {
                pixels: run,
                channels,
                x: x.data,
                x_step: h.stride * x.pitch,
                taps,
                weights: &self.weights,
                bias: &self.bias,
                relu_input: self.relu_input,
                clamp: self.clamp,
                out: &mut out[done * out_pitch..],
                out_pitch,
            });
            done += run;
        }
    }
}

/// How many outputs from `output` on, up to the end of the row, see the same taps of an input of `len` elements.
pub(super) fn same_taps(window: &Window, len: usize, output: usize) -> usize {
    let changes = (0..window.kernel).flat_map(|tap| {
        let inside = window.inside(len, tap);
        [inside.start, inside.end]
    });
    let end = changes.filter(|change| *change > output).fold(window.output, usize::min);
    end - output
}
