//! Depthwise convolutions, as steps of their own or as the input of a matmul. `isa` has the arithmetic.

use std::cell::RefCell;

use rayon::prelude::*;

use super::blocks::{block_pixels, fitting_pixels};
use super::denormals::Flushed;
use super::isa::{Depthwise, Kernels, Neighbour, Run};
use super::view::{View, ViewMut};
use super::windows::find_runs;
use crate::error::Result;
use crate::exec::fold::{Folded, Reader};
use crate::exec::fuse::{Clamp, FusedDepthwise};
use crate::graph::Window;

/// A depthwise convolution with everything that is fused into it.
#[derive(Debug)]
pub(super) struct DepthwiseConv {
    /// `[pixel of the kernel][channel]`
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// Whether the input goes through a ReLU first.
    relu_input: bool,
    clamp: Clamp,
}

/// What the windows of some pixels see.
#[derive(Default)]
struct Seen {
    runs: Vec<Run>,
    neighbours: Vec<Neighbour>,
}

thread_local! {
    /// Each thread keeps its own, so that only its first calls allocate.
    static SEEN: RefCell<Seen> = RefCell::default();
}

impl DepthwiseConv {
    /// Reads, folds and packs its weights.
    pub(super) fn new(depthwise: &FusedDepthwise, read: &Reader) -> Result<Self> {
        let FusedDepthwise { conv, relu_input } = depthwise;
        let folded = Folded::new(conv, read)?;
        Ok(Self { weights: folded.by_pixel()?, bias: folded.bias, relu_input: *relu_input, clamp: conv.clamp })
    }

    /// Computes the pixels of `out` with all threads, as a step of its own.
    pub(super) fn run(&self, kernels: Kernels, x: View, windows: (Window, Window), out: ViewMut) {
        let block = block_pixels(out.pixels(), fitting_pixels(self.bias.len()), 1);
        let ViewMut { data, first, pitch, offset, .. } = out;
        data.par_chunks_mut(block * pitch).with_max_len(1).enumerate().for_each(|(index, out)| {
            let _flushed = Flushed::here();
            self.run_block(kernels, &x, windows, first + index * block, (&mut out[offset..], pitch));
        });
    }

    /// Computes the pixels from number `first` on, as many as fit into `out`.
    pub(super) fn run_block(
        &self,
        kernels: Kernels,
        x: &View,
        windows: (Window, Window),
        first: usize,
        (out, out_pitch): (&mut [f32], usize),
    ) {
        let channels = self.bias.len();
        let pixels = (out.len() + out_pitch - channels) / out_pitch;
        SEEN.with_borrow_mut(|Seen { runs, neighbours }| {
            find_runs(x, windows, first..first + pixels, runs, neighbours, |neighbours, _, at, input| {
                neighbours.push(Neighbour { input, weight: at * channels });
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
        });
    }
}
