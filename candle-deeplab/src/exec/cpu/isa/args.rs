//! What the kernels take, and the checks that their unsafe code relies on.

use std::ops::Range;

use super::Weights;
use crate::exec::cpu::winograd::{MAX_SPAN, MAX_TILE, TAPS};

/// Bounds that a result is held to: an activation, or none. NaN stays NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Clamp {
    pub(in super::super) low: f32,
    pub(in super::super) high: f32,
}

impl Clamp {
    pub(in super::super) const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY };

    pub(in super::super) fn apply(self, x: f32) -> f32 {
        x.clamp(self.low, self.high)
    }
}

/// Neighbouring inputs of a matmul that lie side by side in memory.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Segment {
    /// Where those of a run's first row begin.
    pub(in super::super) x: usize,
    /// The number of the first of them among the weights' inputs.
    pub(in super::super) input: usize,
    pub(in super::super) len: usize,
}

/// Neighbouring rows of a result that are computed from the same segments, or taps. What none of them names counts as zero.
#[derive(Debug, Clone)]
pub(in super::super) struct Run {
    pub(in super::super) first: usize,
    pub(in super::super) rows: usize,
    /// Which of the segments or taps.
    pub(in super::super) sees: Range<usize>,
}

/// `out[r] = clamp(weights · x[r] + bias + Σ starts[r] + residual[r])` for some rows.
pub(in super::super) struct Matmul<'a> {
    pub(in super::super) runs: &'a [Run],
    pub(in super::super) segments: &'a [Segment],
    pub(in super::super) x: &'a [f32],
    /// From a row of a run to the next.
    pub(in super::super) x_pitch: usize,
    /// Whether rows lie as [`Interleave`] leaves them; `x_pitch` is their number of inputs then.
    pub(in super::super) interleaved: bool,
    pub(in super::super) weights: Weights<'a>,
    /// Earlier sums to add: rows of whole panels.
    pub(in super::super) starts: &'a [&'a [f32]],
    /// Rows to add to the result, and their pitch.
    pub(in super::super) residual: Option<(&'a [f32], usize)>,
    pub(in super::super) clamp: Clamp,
    pub(in super::super) out: &'a mut [f32],
    pub(in super::super) out_pitch: usize,
}

impl Matmul<'_> {
    /// # Panics
    /// Where a slice is too short. The plan makes them long enough; this is what the unsafe kernels rely on.
    pub(super) fn check(&self, tile_rows: usize) {
        let Weights { inputs, outputs, width, bias, .. } = self.weights;
        assert!(bias.len() == outputs.next_multiple_of(width), "matmul: bias");
        for Run { first, rows, sees } in self.runs {
            for segment in &self.segments[sees.clone()] {
                let x = self.x.get(segment.x..).unwrap_or_default();
                assert!(self.holds_rows(x, *rows, segment.len, tile_rows), "matmul: input");
                assert!(segment.input <= inputs && segment.len <= inputs - segment.input, "matmul: weights");
            }
            let rows = first.checked_add(*rows).unwrap_or(usize::MAX);
            assert!(holds(self.out, rows, self.out_pitch, outputs), "matmul: output");
            assert!(self.starts.iter().all(|start| holds(start, rows, bias.len(), bias.len())), "matmul: starts");
            assert!(self.residual.is_none_or(|(x, pitch)| holds(x, rows, pitch, outputs)), "matmul: residual");
        }
    }

    /// Whether `x` has so many rows of `len` inputs.
    fn holds_rows(&self, x: &[f32], rows: usize, len: usize, tile_rows: usize) -> bool {
        if !self.interleaved {
            return holds(x, rows, self.x_pitch, len);
        }
        let tile = |floats: usize| floats.checked_mul(tile_rows);
        tile(self.x_pitch).zip(tile(len)).is_some_and(|(step, len)| holds(x, rows.div_ceil(tile_rows), step, len))
    }
}

/// Rows that are put into tiles of [`tile_rows`](Kernels::tile_rows), each `[input][row]`: what a matmul reads is then one
/// stream of memory, not one for each row. What a last tile lacks in rows is zero.
pub(in super::super) struct Interleave<'a> {
    pub(in super::super) x: &'a [f32],
    /// From a row to the next.
    pub(in super::super) pitch: usize,
    pub(in super::super) rows: usize,
    pub(in super::super) inputs: usize,
    /// The tiles.
    pub(in super::super) out: &'a mut [f32],
}

impl Interleave<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    pub(super) fn check(&self, tile_rows: usize) {
        assert!(holds(self.x, self.rows, self.pitch, self.inputs), "interleave: input");
        let tile = tile_rows.saturating_mul(self.inputs);
        assert!(holds(self.out, self.rows.div_ceil(tile_rows), tile, tile), "interleave: output");
    }
}

/// The sums of the quarters `a`, `b`, `c`, `d` of a matrix that [Strassen's algorithm](super::strassen) multiplies:
/// `±c + d`, `±c + d ∓ a`, `±a ∓ c` and `b` without the second.
pub(in super::super) struct Quarters<'a> {
    pub(in super::super) quarters: [&'a [f32]; 4],
    /// Of `a` and `c`: 1 or −1.
    pub(in super::super) sign: f32,
    pub(in super::super) len: usize,
    /// The sums, `step` apart.
    pub(in super::super) out: &'a mut [f32],
    pub(in super::super) step: usize,
}

impl Quarters<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    pub(super) fn check(&self) {
        assert!(self.quarters.iter().all(|quarter| quarter.len() >= self.len), "quarters: input");
        assert!(holds(self.out, 4, self.step, self.len), "quarters: output");
    }
}

/// One tap of a depthwise convolution, as offsets.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Tap {
    /// Of the input of a run's first pixel.
    pub(in super::super) input: usize,
    /// Of the weights, one a channel.
    pub(in super::super) weight: usize,
}

/// `out[p][c] = clamp(bias[c] + Σ_tap weights[tap][c] · x[tap][p][c])` for some pixels.
pub(in super::super) struct Depthwise<'a> {
    pub(in super::super) runs: &'a [Run],
    pub(in super::super) taps: &'a [Tap],
    pub(in super::super) channels: usize,
    pub(in super::super) x: &'a [f32],
    /// From the input of a pixel of a run to that of the next.
    pub(in super::super) x_step: usize,
    pub(in super::super) weights: &'a [f32],
    pub(in super::super) bias: &'a [f32],
    /// Whether the input goes through a ReLU.
    pub(in super::super) relu_input: bool,
    pub(in super::super) clamp: Clamp,
    pub(in super::super) out: &'a mut [f32],
    pub(in super::super) out_pitch: usize,
}

impl Depthwise<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    pub(super) fn check(&self) {
        let channels = self.channels;
        for tap in self.taps {
            let weights = self.weights.get(tap.weight..).unwrap_or_default();
            assert!(holds(weights, 1, 0, channels), "depthwise: weights");
        }
        assert!(holds(self.bias, 1, 0, channels), "depthwise: bias");
        for Run { first, rows, sees } in self.runs {
            for tap in &self.taps[sees.clone()] {
                let x = self.x.get(tap.input..).unwrap_or_default();
                assert!(holds(x, *rows, self.x_step, channels), "depthwise: input");
            }
            let rows = first.checked_add(*rows).unwrap_or(usize::MAX);
            assert!(holds(self.out, rows, self.out_pitch, channels), "depthwise: output");
        }
    }
}

/// A row of positions of `G g Gᵀ`, for a panel of kernels.
pub(in super::super) struct TileWeights<'a> {
    /// Positions of a tile along an axis, 5 or 6.
    pub(in super::super) span: usize,
    /// `[tap][input][width]`
    pub(in super::super) panel: &'a [f32],
    pub(in super::super) width: usize,
    pub(in super::super) inputs: usize,
    /// Which row of positions.
    pub(in super::super) row: usize,
    /// `[input][width]` of a position of the row begin at its number times `step`.
    pub(in super::super) out: &'a mut [f32],
    pub(in super::super) step: usize,
}

impl TileWeights<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    pub(super) fn check(&self, lanes: Option<usize>) {
        let Self { width, inputs, .. } = *self;
        assert!(lanes.is_some_and(|lanes| width.is_multiple_of(lanes)), "tile: panel");
        assert!(is_span(self.span) && self.row < self.span, "tile: row");
        assert!(holds(self.panel, TAPS, inputs * width, inputs * width), "tile: weights");
        assert!(holds(self.out, self.span, self.step, inputs * width), "tile: transformed");
    }
}

/// `Bᵀ d B` of the inputs of a tile, channel by channel.
pub(in super::super) struct TileInput<'a> {
    /// Inputs of a tile along an axis, 5 or 6.
    pub(in super::super) span: usize,
    pub(in super::super) x: &'a [f32],
    /// Where the channels of each begin, row by row; `None` in the padding, which is zero.
    pub(in super::super) pixels: [Option<usize>; MAX_SPAN * MAX_SPAN],
    pub(in super::super) channels: usize,
    /// The channels of a position begin at `position * step`.
    pub(in super::super) out: &'a mut [f32],
    pub(in super::super) step: usize,
}

impl TileInput<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    pub(super) fn check(&self, lanes: Option<usize>) {
        assert!(lanes.is_some_and(|lanes| self.channels >= lanes), "tile: channels");
        let seen = |pixel: usize| holds(self.x.get(pixel..).unwrap_or_default(), 1, 0, self.channels);
        assert!(self.pixels.iter().flatten().all(|pixel| seen(*pixel)), "tile: input");
        assert!(is_span(self.span), "tile: span");
        assert!(holds(self.out, self.span * self.span, self.step, self.channels), "tile: transformed");
    }
}

/// `clamp(Aᵀ m A + bias + residual)` of the products of a tile, channel by channel.
pub(in super::super) struct TileOutput<'a> {
    /// Positions of a tile along an axis, 5 or 6; it has two outputs fewer.
    pub(in super::super) span: usize,
    pub(in super::super) products: Products<'a>,
    pub(in super::super) channels: usize,
    /// One a channel, whole panels.
    pub(in super::super) bias: &'a [f32],
    pub(in super::super) clamp: Clamp,
    /// The pixels of the output, row by row; `None` for those outside.
    pub(in super::super) pixels: [Option<usize>; MAX_TILE * MAX_TILE],
    /// Pixels to add to the result, and their pitch.
    pub(in super::super) residual: Option<(&'a [f32], usize)>,
    pub(in super::super) out: &'a mut [f32],
    pub(in super::super) out_pitch: usize,
}

/// The products of a tile: `width` channels, one or more panels, of position (y, x) begin at
/// `y * row_step + part * part_step + x * step`.
#[derive(Clone, Copy)]
pub(in super::super) struct Products<'a> {
    pub(in super::super) data: &'a [f32],
    pub(in super::super) width: usize,
    pub(in super::super) row_step: usize,
    pub(in super::super) part_step: usize,
    pub(in super::super) step: usize,
}

impl TileOutput<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    pub(super) fn check(&self, lanes: Option<usize>) {
        let (channels, Products { data, width, row_step, part_step, step }) = (self.channels, self.products);
        assert!(lanes.is_some_and(|lanes| width > 0 && width.is_multiple_of(lanes)), "tile: panel");
        assert!(channels > 0 && self.bias.len() >= channels.next_multiple_of(lanes.unwrap_or(1)), "tile: bias");
        assert!(is_span(self.span), "tile: span");
        let last = [(self.span - 1, row_step), ((channels - 1) / width, part_step), (self.span - 1, step), (1, width)];
        let end = last.iter().try_fold(0, |sum: usize, (count, step)| sum.checked_add(count.checked_mul(*step)?));
        assert!(end.is_some_and(|end| end <= data.len()), "tile: products");
        let pixels = self.pixels.iter().flatten().max().map_or(0, |last| last.saturating_add(1));
        assert!(holds(self.out, pixels, self.out_pitch, channels), "tile: output");
        assert!(self.residual.is_none_or(|(x, pitch)| holds(x, pixels, pitch, channels)), "tile: residual");
    }
}

/// Whether there are kernels for tiles of so many inputs along an axis.
fn is_span(span: usize) -> bool {
    matches!(span, 5 | MAX_SPAN)
}

/// Whether a slice has so many rows of so many values, `pitch` apart.
fn holds(slice: &[f32], rows: usize, pitch: usize, values: usize) -> bool {
    let Some(last) = rows.checked_sub(1) else { return true };
    last.checked_mul(pitch).and_then(|start| start.checked_add(values)).is_some_and(|end| end <= slice.len())
}
