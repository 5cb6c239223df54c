//! Dense convolutions as a matmul over blocks of pixels.
//!
//! A block's rows are what the window of each pixel sees, read where it lies in the input; or the result of the depthwise
//! convolution before it, which is made just before it is used, in memory of the thread, and never exists for the whole
//! map. Rows that many outputs are made of are interleaved first.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::depthwise::DepthwiseConv;
use super::isa::{Interleave, Kernels, Matmul, Neighbour, Packed, Run, Segment};
use super::strassen;
use super::view::{View, ViewMut};
use super::windows::find_runs;
use crate::exec::choice::Precision;
use crate::exec::fuse::Clamp;
use crate::graph::Window;

/// A dense convolution with everything around it that is fused.
#[derive(Debug)]
pub(super) struct DenseConv {
    /// Inputs are `[ky][kx][channel]`.
    pub(super) weights: Packed,
    pub(super) rows: Rows,
    pub(super) clamp: Clamp,
    /// Whether it can also be computed by [Winograd's algorithm](super::winograd), from the same weights: then a plan chooses.
    pub(super) tiles: bool,
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

/// Floats of the rows that are interleaved at once.
const STRIP_FLOATS: usize = 16 << 10;

/// Outputs from which on it is faster to interleave rows first.
const MIN_OUTPUTS: usize = 512;

thread_local! {
    /// Each thread keeps its own, so that only its first calls allocate.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What a block needs while it is computed.
#[derive(Default)]
struct Scratch {
    input: Input,
    lists: Lists,
    sums: Aligned,
}

/// What rows are made of.
#[derive(Clone, Copy)]
struct Source<'a> {
    kernels: Kernels,
    x: View<'a>,
    windows: (Window, Window),
}

/// Rows that are not used where they lie.
#[derive(Default)]
struct Input {
    made: Made,
    tiles: Aligned,
}

#[derive(Default)]
struct Made {
    /// The depthwise convolution's results.
    rows: Aligned,
    /// In bf16.
    rounded: Aligned,
}

#[derive(Default)]
struct Lists {
    neighbours: Vec<Neighbour>,
    runs: Vec<Run>,
    segments: Vec<Segment>,
}

impl DepthwiseConv {
    /// The convolution as a step of its own, where no matmul could take it in.
    pub(super) fn run_alone(&self, kernels: Kernels, x: View, windows: (Window, Window), out: ViewMut) {
        let block = block_rows(out.pixels(), fitting_rows(self.bias.len()), 1);
        let ViewMut { data, first, pitch, offset, .. } = out;
        data.par_chunks_mut(block * pitch).with_max_len(1).enumerate().for_each(|(index, out)| {
            let out = (&mut out[offset..], pitch);
            SCRATCH.with_borrow_mut(|Scratch { lists: Lists { runs, neighbours, .. }, .. }| {
                self.run(kernels, &x, windows, first + index * block, out, (runs, neighbours));
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
        let tile = kernels.rows_at_once();
        let matrix = matches!(self.rows, Rows::Depthwise(_)) || windows.0.is_pointwise() && windows.1.is_pointwise();
        let interleaved = matrix && self.weights.outputs() >= MIN_OUTPUTS;
        let strassen = strassen::block_rows(self.weights.weights()).filter(|_| interleaved);
        // Strassen's algorithm adds rows to others, which may be NaN: never to those of another image.
        let (image, block) = match strassen {
            Some(rows) => {
                let image = out.height * out.width;
                (image, block_rows(image.min(out.pixels()), rows, 2 * tile))
            }
            None => {
                // Rounded, all that windows see is in memory once more.
                let floats = match self.weights.precision() {
                    Precision::Bf16 if !matrix => self.weights.weights().inputs,
                    _ => x.channels,
                };
                (out.pixels(), block_rows(out.pixels(), fitting_rows(floats), tile))
            }
        };
        let source = Source { kernels, x, windows };
        let ViewMut { data, first, pitch, offset, .. } = out;
        let blocks = data.par_chunks_mut(image * pitch).enumerate().flat_map(|(n, data)| {
            let blocks = data.par_chunks_mut(block * pitch).with_max_len(1).enumerate();
            blocks.map(move |(index, out)| (first + n * image + index * block, out))
        });
        blocks.for_each(|(first, out)| {
            let pixels = first..first + out.len() / pitch;
            SCRATCH.with_borrow_mut(|Scratch { input, lists, sums }| {
                let (x, x_pitch) = match (matrix, interleaved) {
                    (true, true) => self.tiles(source, pixels, input, lists),
                    (true, false) => self.matrix(source, pixels, &mut input.made, lists),
                    (false, _) => self.seen(source, pixels, &mut input.made, lists),
                };
                let args = Matmul {
                    runs: &lists.runs,
                    segments: &lists.segments,
                    x,
                    x_pitch,
                    interleaved,
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

impl DenseConv {
    /// The rows of a matrix in [tiles](Interleave), as many as fill an even number of them, and their inputs. They are made
    /// a few at a time, which are still in the cache when they are interleaved.
    fn tiles<'a>(
        &self,
        source: Source,
        pixels: Range<usize>,
        Input { made, tiles }: &'a mut Input,
        lists: &mut Lists,
    ) -> (&'a [f32], usize) {
        let (tile, inputs) = (source.kernels.rows_at_once(), self.weights.weights().inputs);
        let strip = (STRIP_FLOATS / source.x.channels.max(1)).next_multiple_of(tile);
        let padded = pixels.len().next_multiple_of(2 * tile);
        tiles.grow(padded * inputs);
        for first in pixels.clone().step_by(strip) {
            let rows = strip.min(pixels.end - first);
            let (x, pitch) = self.matrix(source, first..first + rows, made, lists);
            let out = &mut tiles[(first - pixels.start) * inputs..];
            source.kernels.interleave(Interleave { x, pitch, rows, inputs, out });
        }
        tiles[pixels.len().next_multiple_of(tile) * inputs..padded * inputs].fill(0.0);
        one_run(pixels.len(), inputs, lists);
        (tiles, inputs)
    }

    /// The rows of a matrix, and their pitch.
    fn matrix<'a>(
        &self,
        Source { kernels, x, windows }: Source<'a>,
        pixels: Range<usize>,
        Made { rows, rounded }: &'a mut Made,
        lists: &mut Lists,
    ) -> (&'a [f32], usize) {
        let made = match &self.rows {
            Rows::Window => (x.from(pixels.start), x.pitch),
            Rows::Depthwise(depthwise) => {
                let (len, pitch) = (pixels.len(), row_pitch(x.channels));
                rows.grow(len * pitch);
                let rows = &mut rows[..len * pitch];
                depthwise.run(
                    kernels,
                    &x,
                    windows,
                    pixels.start,
                    (rows, pitch),
                    (&mut lists.runs, &mut lists.neighbours),
                );
                (&*rows, pitch)
            }
        };
        one_run(pixels.len(), x.channels, lists);
        self.rounded(kernels, made, lists, rounded)
    }

    /// What the windows see, where it lies.
    fn seen<'a>(
        &self,
        Source { kernels, x, windows }: Source<'a>,
        pixels: Range<usize>,
        Made { rounded, .. }: &'a mut Made,
        lists: &mut Lists,
    ) -> (&'a [f32], usize) {
        find_segments(&x, windows, pixels, Packed::padded(self.weights.precision(), x.channels), lists);
        self.rounded(kernels, (x.data, windows.1.stride * x.pitch), lists, rounded)
    }

    /// The rows and their pitch, in bf16 where the weights are.
    fn rounded<'a>(
        &self,
        kernels: Kernels,
        (x, x_pitch): (&'a [f32], usize),
        Lists { runs, segments, .. }: &mut Lists,
        rounded: &'a mut Aligned,
    ) -> (&'a [f32], usize) {
        match self.weights.precision() {
            Precision::F32 => (x, x_pitch),
            Precision::Bf16 => {
                let pitch = row_pitch(self.weights.weights().inputs);
                rounded.grow(runs.iter().map(|run| run.rows).sum::<usize>() * pitch);
                round_rows(kernels, (x, x_pitch), runs, segments, (rounded, pitch));
                (rounded, pitch)
            }
        }
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

/// The rows from the first on, all inputs side by side.
fn one_run(rows: usize, len: usize, Lists { runs, segments, .. }: &mut Lists) {
    runs.clear();
    segments.clear();
    runs.push(Run { first: 0, rows, sees: 0..1 });
    segments.push(Segment { x: 0, input: 0, len });
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

/// Where the windows of some pixels lie in `x`, with so many inputs to a tap in the weights.
fn find_segments(
    x: &View,
    windows: (Window, Window),
    pixels: Range<usize>,
    tap_inputs: usize,
    Lists { runs, segments, .. }: &mut Lists,
) {
    let channels = x.channels;
    find_runs(x, windows, pixels, runs, segments, |segments, start, tap, at| {
        let input = tap * tap_inputs;
        match segments[start..].last_mut() {
            Some(last) if last.x + last.len == at && last.input + last.len == input => last.len += channels,
            _ => segments.push(Segment { x: at, input, len: channels }),
        }
    });
}
