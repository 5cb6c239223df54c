//! Computes dense convolutions as matmuls over blocks of pixels.
//!
//! A row of the matmul is what the window of a pixel sees, read in place from the input. Or it is a pixel of the result
//! of a fused depthwise convolution: the thread computes it just before its use, in memory of its own, so that this
//! result never exists for the whole map. Where the matmul has many outputs, rows are interleaved first.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::blocks::{block_pixels, fitting_pixels};
use super::denormals::Flushed;
use super::depthwise::DepthwiseConv;
use super::geometry::Geometry;
use super::isa::{Interleave, Kernels, Matmul, Packed, Run, Segment};
use super::view::{View, ViewMut, row_pitch};
use super::windows::find_runs;
use super::{strassen, winograd};
use crate::error::Result;
use crate::exec::choice::Precision;
use crate::exec::fold::Folded;
use crate::exec::fuse::{Clamp, FusedConv};
use crate::graph::Window;

/// A dense convolution, or one group of it, with everything that is fused into it.
#[derive(Debug)]
pub(super) struct DenseConv {
    /// The inputs of an output are `[ky][kx][channel]`.
    weights: Packed,
    rows: Rows,
    clamp: Clamp,
    /// Whether Winograd's algorithm can compute it, too, from the same weights: the plan then decides.
    pub(super) suits_winograd: bool,
}

/// What the rows of the matmul are.
#[derive(Debug)]
enum Rows {
    /// All that a window sees.
    Window,
    /// The pixels of a depthwise convolution's result.
    Depthwise(DepthwiseConv),
}

/// How many floats of rows are computed before these are interleaved: they are still in the cache then.
const STRIP_FLOATS: usize = 16 << 10;

/// The number of outputs from which on it is faster to interleave rows first.
const MIN_OUTPUTS: usize = 512;

thread_local! {
    /// Each thread keeps its own, so that only its first calls allocate.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What a thread needs while it computes a block.
#[derive(Default)]
struct Scratch {
    input: Input,
    lists: Lists,
    sums: Aligned,
}

/// What the rows of a matmul are made from.
#[derive(Clone, Copy)]
struct Source<'a> {
    kernels: Kernels,
    x: View<'a>,
    windows: (Window, Window),
}

/// Memory for rows that are not read in place.
#[derive(Default)]
struct Input {
    made: Made,
    interleaved: Aligned,
}

#[derive(Default)]
struct Made {
    /// A depthwise convolution's results.
    rows: Aligned,
    /// Rows in bf16.
    rounded: Aligned,
}

/// Where the rows of a matmul lie.
#[derive(Default)]
struct Lists {
    runs: Vec<Run>,
    segments: Vec<Segment>,
}

impl DenseConv {
    /// Packs one group of a convolution. Its matmuls multiply at this precision, except that convolutions which suit
    /// Winograd's algorithm stay f32: a quarter of the products is worth more than half the time for each, and the
    /// transforms would amplify the rounding error.
    pub(super) fn new(
        conv: &FusedConv,
        folded: &Folded,
        group: usize,
        depthwise: Option<DepthwiseConv>,
        (kernels, precision): (Kernels, Precision),
    ) -> Result<Self> {
        let (inputs, area, outputs) =
            (conv.group_inputs, conv.kernel_area(), conv.conv.out_channels / conv.conv.groups);
        let suits_winograd = winograd::suits(conv, kernels, precision);
        let precision = if suits_winograd { Precision::F32 } else { precision };
        let (padded, first) = (Packed::padded(precision, inputs), group * outputs);
        let bias = &folded.bias[first..first + outputs];
        let weights = Packed::new(precision, kernels.panel_width(), area * padded, bias, |outputs| {
            folded.rows(first + outputs.start..first + outputs.end, padded)
        })?;
        let rows = depthwise.map_or(Rows::Window, Rows::Depthwise);
        Ok(Self { weights, rows, clamp: conv.clamp, suits_winograd })
    }

    /// Computes the pixels of `out`. If there is a fused depthwise convolution, the geometry is that of its windows.
    pub(super) fn run(
        &self,
        kernels: Kernels,
        x: View,
        geometry: &Geometry,
        residual: Option<View>,
        out: ViewMut,
        scratch: &mut Aligned,
    ) {
        match geometry {
            Geometry::Windows(windows) => self.run_windows(Source { kernels, x, windows: *windows }, residual, out),
            Geometry::Winograd(windows, span) => {
                winograd::run(kernels, (&self.weights, self.clamp), x, (*windows, *span), residual, out, scratch)
            }
            _ => unreachable!("a convolution planned with {geometry:?}"),
        }
    }

    fn run_windows(&self, source: Source, residual: Option<View>, out: ViewMut) {
        let Source { kernels, x, windows: (vertical, horizontal) } = source;
        let rows_at_once = kernels.rows_at_once();
        let pointwise = vertical.is_pointwise() && horizontal.is_pointwise();
        let matrix = pointwise || matches!(self.rows, Rows::Depthwise(_));
        let interleaved = matrix && self.weights.outputs() >= MIN_OUTPUTS;
        let strassen = strassen::block_rows(self.weights.weights()).filter(|_| interleaved);
        // Strassen's algorithm adds rows to other rows, which may be NaN: never to those of another image.
        let (image, block) = match strassen {
            Some(rows) => {
                let image = out.height * out.width;
                (image, block_pixels(image.min(out.pixels()), rows, 2 * rows_at_once))
            }
            None => {
                // Rounding copies all that windows see.
                let floats = match self.weights.precision() {
                    Precision::Bf16 if !matrix => self.weights.weights().inputs,
                    _ => x.channels,
                };
                (out.pixels(), block_pixels(out.pixels(), fitting_pixels(floats), rows_at_once))
            }
        };
        let ViewMut { data, first, pitch, offset, .. } = out;
        let blocks = data.par_chunks_mut(image * pitch).enumerate().flat_map(|(n, data)| {
            let blocks = data.par_chunks_mut(block * pitch).with_max_len(1).enumerate();
            blocks.map(move |(index, out)| (first + n * image + index * block, out))
        });
        blocks.for_each(|(first, out)| {
            let _flushed = Flushed::here();
            let pixels = first..first + out.len() / pitch;
            SCRATCH.with_borrow_mut(|Scratch { input, lists, sums }| {
                let (x, x_pitch) = match (matrix, interleaved) {
                    (true, true) => self.interleaved(source, pixels, input, lists),
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

    /// The rows of the matmul, [interleaved](Interleave), and their number of inputs. They are padded with zeros to an
    /// even number of groups.
    fn interleaved<'a>(
        &self,
        source: Source,
        pixels: Range<usize>,
        Input { made, interleaved }: &'a mut Input,
        lists: &mut Lists,
    ) -> (&'a [f32], usize) {
        let (rows_at_once, inputs) = (source.kernels.rows_at_once(), self.weights.weights().inputs);
        let strip = (STRIP_FLOATS / source.x.channels.max(1)).next_multiple_of(rows_at_once);
        let padded = pixels.len().next_multiple_of(2 * rows_at_once);
        interleaved.grow(padded * inputs);
        for first in pixels.clone().step_by(strip) {
            let rows = strip.min(pixels.end - first);
            let (x, pitch) = self.matrix(source, first..first + rows, made, lists);
            let out = &mut interleaved[(first - pixels.start) * inputs..];
            source.kernels.interleave(Interleave { x, pitch, rows, inputs, out });
        }
        interleaved[pixels.len().next_multiple_of(rows_at_once) * inputs..padded * inputs].fill(0.0);
        one_run(pixels.len(), inputs, lists);
        (interleaved, inputs)
    }

    /// The rows of the matmul, one per pixel, and their pitch.
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
                depthwise.run_block(kernels, &x, windows, pixels.start, (rows, pitch));
                (&*rows, pitch)
            }
        };
        one_run(pixels.len(), x.channels, lists);
        self.rounded(kernels, made, lists, rounded)
    }

    /// The input that the windows see, read in place, and the distance between the windows of neighbouring pixels.
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

    /// The rows and their pitch, rounded to bf16 if the weights are.
    fn rounded<'a>(
        &self,
        kernels: Kernels,
        (x, x_pitch): (&'a [f32], usize),
        Lists { runs, segments }: &mut Lists,
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

/// Sets the lists to one run of rows, each of which has all its inputs side by side.
fn one_run(rows: usize, len: usize, Lists { runs, segments }: &mut Lists) {
    runs.clear();
    segments.clear();
    runs.push(Run { first: 0, rows, sees: 0..1 });
    segments.push(Segment { x: 0, input: 0, len });
}

/// Rounds rows to bf16 and packs the inputs of each side by side, two to a word; the segments then point to the packed
/// inputs.
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

/// Finds where the windows of some pixels lie in `x`. `inputs` is the number of the weights' inputs for each pixel of
/// the kernel.
fn find_segments(
    x: &View,
    windows: (Window, Window),
    pixels: Range<usize>,
    inputs: usize,
    Lists { runs, segments }: &mut Lists,
) {
    let channels = x.channels;
    find_runs(x, windows, pixels, runs, segments, |segments, start, at, place| {
        let input = at * inputs;
        match segments[start..].last_mut() {
            Some(last) if last.x + last.len == place && last.input + last.len == input => last.len += channels,
            _ => segments.push(Segment { x: place, input, len: channels }),
        }
    });
}
