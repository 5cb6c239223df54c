//! Dense convolutions as a matmul over blocks of pixels.
//!
//! A block's rows are the input's pixels themselves (1×1), the result of the depthwise convolution before it, or the
//! pixels that a window sees, side by side (implicit matmul). In the latter two cases they are made just before they are
//! used, in memory of the thread that stays in its cache: neither ever exists for the whole map.

use std::cell::RefCell;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::depthwise::DepthwiseConv;
use super::isa::{Clamp, Kernels, Matmul, Packed, Tap};
use super::view::{View, ViewMut, position};
use crate::graph::Window;

/// A dense convolution with everything around it that is fused.
#[derive(Debug)]
pub(super) struct DenseConv {
    /// Inputs are `[ky][kx][channel]`.
    pub(super) weights: Packed,
    pub(super) rows: Rows,
    pub(super) clamp: Clamp,
}

/// What the rows of the matmul are.
#[derive(Debug)]
pub(super) enum Rows {
    /// The input's pixels.
    Pixels,
    /// The pixels of a depthwise convolution's result.
    Depthwise(DepthwiseConv),
    /// All that a window sees.
    Window,
}

/// Floats of a block's rows: they share a core's second cache (512 KiB and more) with a panel of weights.
const BLOCK_FLOATS: usize = 40 << 10;

/// Blocks that each thread gets at least, where there are enough pixels, so that none waits long for the last one.
const BLOCKS_PER_THREAD: usize = 4;

thread_local! {
    /// A block's rows and taps. Each thread keeps them, so that only its first calls allocate.
    static SCRATCH: RefCell<(Aligned, Vec<Tap>)> = RefCell::default();
}

impl DepthwiseConv {
    /// The convolution as a step of its own, where no matmul could take it in.
    pub(super) fn run_alone(&self, kernels: Kernels, x: View, windows: (Window, Window), out: ViewMut) {
        let block = block_rows(out.pixels(), self.bias.len(), 1);
        let ViewMut { data, pitch, offset, .. } = out;
        data.par_chunks_mut(block * pitch).with_max_len(1).enumerate().for_each(|(index, out)| {
            let out = (&mut out[offset..], pitch);
            SCRATCH.with_borrow_mut(|(_, taps)| self.run(kernels, &x, windows, index * block, out, taps));
        });
    }
}

impl DenseConv {
    /// `windows` are those of the depthwise convolution, or of this one where it has no such part.
    pub(super) fn run(
        &self,
        kernels: Kernels,
        x: View,
        windows: (Window, Window),
        residual: Option<View>,
        out: ViewMut,
    ) {
        let inputs = self.weights.inputs();
        let block = block_rows(out.pixels(), inputs, kernels.tile_rows());
        let ViewMut { data, pitch, offset, .. } = out;
        data.par_chunks_mut(block * pitch).with_max_len(1).enumerate().for_each(|(index, out)| {
            let (first, rows) = (index * block, out.len() / pitch);
            let multiply = |x: &[f32], x_pitch, out: &mut [f32]| {
                kernels.matmul(Matmul {
                    rows,
                    x,
                    x_pitch,
                    weights: &self.weights,
                    residual: residual.map(|residual| (residual.from(first), residual.pitch)),
                    clamp: self.clamp,
                    out: &mut out[offset..],
                    out_pitch: pitch,
                });
            };
            if let Rows::Pixels = self.rows {
                return multiply(x.from(first), x.pitch, out);
            }
            SCRATCH.with_borrow_mut(|(scratch, taps)| {
                let row_pitch = row_pitch(inputs);
                scratch.grow(block * row_pitch);
                let made = &mut scratch[..rows * row_pitch];
                match &self.rows {
                    Rows::Depthwise(depthwise) => {
                        depthwise.run(kernels, &x, windows, first, (made, row_pitch), taps);
                    }
                    _ => gather(&x, windows, first, made, row_pitch),
                }
                multiply(made, row_pitch, out);
            });
        });
    }
}

/// Rows of a block: whole tiles, as many as the cache holds, yet few enough that there is work for every thread.
fn block_rows(pixels: usize, inputs: usize, tile: usize) -> usize {
    let tiles = pixels.div_ceil(tile);
    let fitting = (BLOCK_FLOATS / (inputs * tile).max(1)).max(1);
    let blocks = tiles.div_ceil(fitting).max((BLOCKS_PER_THREAD * rayon::current_num_threads()).min(tiles)).max(1);
    tiles.div_ceil(blocks).max(1) * tile
}

/// Floats from a pixel of so many channels to the next. Rows begin at cache lines, and not a power of two apart, or the
/// rows of a tile would compete for the same few places in the cache.
pub(super) fn row_pitch(channels: usize) -> usize {
    match channels.next_multiple_of(16) {
        _ if channels < 16 => channels,
        pitch if pitch.is_multiple_of(512) => pitch + 16,
        pitch => pitch,
    }
}

/// Puts all that the windows of the pixels from `first` on see into the rows of `to`.
fn gather(x: &View, (v, h): (Window, Window), first: usize, to: &mut [f32], pitch: usize) {
    let channels = x.channels;
    for (i, row) in to.chunks_exact_mut(pitch).enumerate() {
        let (n, oy, ox) = position(first + i, v.output, h.output);
        let mut seen = row.chunks_exact_mut(channels);
        for ky in 0..v.kernel {
            let iy = v.input(x.height, oy, ky);
            for (kx, to) in seen.by_ref().take(h.kernel).enumerate() {
                match (iy, h.input(x.width, ox, kx)) {
                    (Some(iy), Some(ix)) => to.copy_from_slice(x.at(x.pixel(n, iy, ix))),
                    _ => to.fill(0.0),
                }
            }
        }
    }
}
