//! Depthwise convolutions of some pixels; the arithmetic is the instruction set's.

use super::isa::{Depthwise, Kernels, Neighbour, Run};
use super::view::View;
use super::windows::find_runs;
use crate::exec::fuse::Clamp;
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
    /// Computes the pixels from number `first` on, as many as fit into `out`; `runs` and `taps` are places for lists.
    pub(super) fn run(
        &self,
        kernels: Kernels,
        x: &View,
        windows: (Window, Window),
        first: usize,
        (out, out_pitch): (&mut [f32], usize),
        (runs, neighbours): (&mut Vec<Run>, &mut Vec<Neighbour>),
    ) {
        let channels = self.bias.len();
        let pixels = (out.len() + out_pitch - channels) / out_pitch;
        find_runs(x, windows, first..first + pixels, runs, neighbours, |neighbours, _, tap, input| {
            neighbours.push(Neighbour { input, weight: tap * channels });
        });
        kernels.depthwise(Depthwise {
            runs,
            neighbours,
            channels,
            x: x.data,
            x_step: windows.1.stride * x.pitch,
            weights: &self.weights,
            bias: &self.bias,
            relu_input: self.relu_input,
            clamp: self.clamp,
            out,
            out_pitch,
        });
    }
}
