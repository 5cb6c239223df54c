//! Dense convolutions as a matmul over blocks of pixels.
//!
//! A block's rows are what the window of each pixel sees, read where it lies in the input; or the result of the depthwise
//! convolution before it, which is made just before it is used, in memory of the thread that stays in its cache, and never
//! exists for the whole map.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::depthwise::DepthwiseConv;
use super::isa::{Clamp, Kernels, Matmul, Packed, Precision, Run, Segment, Tap};
use super::strassen;
use super::view::{View, ViewMut};
use super::windows::find_runs;
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
    /// All that a window sees.
    Window,
    /// The pixels of a depthwise convolution's result.
    Depthwise(DepthwiseConv),
}

/// Floats of a block's rows: they share a core's second cache (512 KiB and more) with a panel of weights.
const BLOCK_FLOATS: usize = 40 << 10;

/// Rows of a block at least, where it has many inputs: it reads all weights once, from the last cache or from memory.
const MIN_ROWS: usize = 96;

thread_local! {
    /// Each thread keeps its own, so that only its first calls allocate.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What a block needs while it is computed.
#[derive(Default)]
struct Scratch {
    rows: Aligned,
    /// The rows in bf16.
    rounded: Aligned,
    taps: Vec<Tap>,
    runs: Vec<Run>,
    segments: Vec<Segment>,
    sums: Aligned,
}

impl DepthwiseConv {
    /// The convolution as a step of its own, where no matmul could take it in.
    pub(super) fn run_alone(&self, kernels: Kernels, x: View, windows: (Window, Window), out: ViewMut) {
        let block = block_rows(out.pixels(), fitting_rows(self.bias.len()), 1);
        let ViewMut { data, pitch, offset, .. } = out;
        data.par_chunks_mut(block * pitch).with_max_len(1).enumerate().for_each(|(index, out)| {
            let out = (&mut out[offset..], pitch);
            SCRATCH.with_borrow_mut(|Scratch { runs, taps, .. }| {
                self.run(kernels, &x, windows, index * block, out, (runs, taps));
            });
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
        let (pixels, tile) = (out.pixels(), kernels.tile_rows());
        let matrix = matches!(self.rows, Rows::Depthwise(_)) || sees_own_pixel(windows);
        let strassen = strassen::block_rows(self.weights.weights()).filter(|_| matrix);
        let block = match strassen {
            Some(rows) => block_rows(pixels, rows, 2 * tile),
            None => block_rows(pixels, fitting_rows(x.channels), tile),
        };
        let ViewMut { data, pitch, offset, .. } = out;
        data.par_chunks_mut(block * pitch).with_max_len(1).enumerate().for_each(|(index, out)| {
            let (first, rows) = (index * block, out.len() / pitch);
            SCRATCH.with_borrow_mut(|Scratch { rows: made, rounded, taps, runs, segments, sums }| {
                let (x, x_pitch) = match &self.rows {
                    Rows::Window => {
                        let tap_inputs = self.weights.precision().padded(x.channels);
                        find_segments(&x, windows, first..first + rows, tap_inputs, runs, segments);
                        (x.data, windows.1.stride * x.pitch)
                    }
                    Rows::Depthwise(depthwise) => {
                        let row_pitch = row_pitch(x.channels);
                        made.grow(block * row_pitch);
                        let made = &mut made[..rows * row_pitch];
                        depthwise.run(kernels, &x, windows, first, (made, row_pitch), (runs, taps));
                        one_run(rows, 0, x.channels, runs, segments);
                        (&*made, row_pitch)
                    }
                };
                let (x, x_pitch) = match self.weights.precision() {
                    Precision::F32 => (x, x_pitch),
                    Precision::Bf16 => {
                        let pitch = row_pitch(self.weights.weights().inputs);
                        rounded.grow(block * pitch);
                        round_rows(kernels, (x, x_pitch), runs, segments, (rounded, pitch));
                        (&**rounded, pitch)
                    }
                };
                let args = Matmul {
                    runs,
                    segments,
                    x,
                    x_pitch,
                    weights: self.weights.weights(),
                    starts: &[],
                    residual: residual.map(|residual| (residual.from(first), residual.pitch)),
                    clamp: self.clamp,
                    out: &mut out[offset..],
                    out_pitch: pitch,
                };
                match strassen {
                    Some(_) => strassen::matmul(kernels, args, sums),
                    None => kernels.matmul(args),
                }
            });
        });
    }
}

/// Rows of a block that the cache holds.
fn fitting_rows(inputs: usize) -> usize {
    (BLOCK_FLOATS / inputs.max(1)).max(MIN_ROWS)
}

/// Rows of a block: whole tiles, of so many rows at most, in a size with which the threads are done the soonest.
fn block_rows(pixels: usize, most: usize, tile: usize) -> usize {
    let (tiles, threads) = (pixels.div_ceil(tile).max(1), rayon::current_num_threads());
    let fitting = (most / tile).clamp(1, tiles);
    let least = fitting.div_ceil(2).min(tiles.div_ceil(threads));
    // Blocks are alike: one that is left over at the end keeps all threads waiting but one.
    let done = |block: usize| tiles.div_ceil(block).div_ceil(threads) * block;
    let block = (least..=fitting).rev().min_by_key(|block| done(*block)).unwrap_or(fitting);
    block * tile
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

/// All rows from one place on, all inputs side by side.
fn one_run(rows: usize, x: usize, len: usize, runs: &mut Vec<Run>, segments: &mut Vec<Segment>) {
    runs.clear();
    segments.clear();
    runs.push(Run { first: 0, rows, sees: 0..1 });
    segments.push(Segment { x, input: 0, len });
}

/// Rounds rows to bf16 and puts the inputs of each side by side, pairs to a word; the segments then say where they lie there.
fn round_rows(
    kernels: Kernels,
    (x, x_pitch): (&[f32], usize),
    runs: &[Run],
    segments: &mut [Segment],
    (out, pitch): (&mut [f32], usize),
) {
    for run in runs {
        for segment in &mut segments[run.sees.clone()] {
            let (input, len) = (segment.input / 2, segment.len.div_ceil(2));
            for row in 0..run.rows {
                let x = &x[segment.x + row * x_pitch..][..segment.len];
                kernels.round(x, &mut out[(run.first + row) * pitch + input..][..len]);
            }
            *segment = Segment { x: run.first * pitch + input, input, len };
        }
    }
}

/// Whether each window sees just the pixel at its own place.
fn sees_own_pixel((v, h): (Window, Window)) -> bool {
    [v, h].iter().all(|w| w.kernel == 1 && w.stride == 1 && w.before == 0 && w.after == 0)
}

/// Where the windows of some pixels lie in `x`, with so many inputs to a tap in the weights.
fn find_segments(
    x: &View,
    windows: (Window, Window),
    pixels: Range<usize>,
    tap_inputs: usize,
    runs: &mut Vec<Run>,
    segments: &mut Vec<Segment>,
) {
    let channels = x.channels;
    if sees_own_pixel(windows) {
        return one_run(pixels.len(), pixels.start * x.pitch, channels, runs, segments);
    }
    find_runs(x, windows, pixels, runs, segments, |segments, start, tap, at| {
        let input = tap * tap_inputs;
        match segments[start..].last_mut() {
            Some(last) if last.x + last.len == at && last.input + last.len == input => last.len += channels,
            _ => segments.push(Segment { x: at, input, len: channels }),
        }
    });
}
