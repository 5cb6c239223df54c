//! The arguments of the kernels, and the checks that their unsafe code relies on.

use std::ops::Range;

use super::packed::Weights;
use crate::exec::fuse::Clamp;

/// The most inputs that a patch of Winograd's algorithm sees along an axis.
pub(in super::super) const MAX_SPAN: usize = 6;
/// The most outputs of a patch along an axis.
pub(super) const MAX_SIDE: usize = MAX_SPAN - 2;
/// The area of the 3×3 kernels that the algorithm computes.
pub(in super::super) const KERNEL_AREA: usize = 9;

/// How many independent sums the measurement of the peak has: enough to hide the latency of an addition.
pub(super) const CHAINS: usize = 12;

/// Inputs of a matmul's row that are contiguous in memory.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Segment {
    /// Where the inputs of a run's first row begin.
    pub(in super::super) x: usize,
    /// The index of the first of them among the weights' inputs.
    pub(in super::super) input: usize,
    pub(in super::super) len: usize,
}

/// Neighbouring rows of a result that are computed from the same segments (or, in a depthwise convolution, the same
/// neighbours). Inputs that none of these cover count as zero.
#[derive(Debug, Clone)]
pub(in super::super) struct Run {
    pub(in super::super) first: usize,
    pub(in super::super) rows: usize,
    /// The range of the segments or neighbours.
    pub(in super::super) sees: Range<usize>,
}

/// `out[r] = clamp(weights · x[r] + bias + Σ starts[r] + residual[r])` for some rows `r`.
pub(in super::super) struct Matmul<'a> {
    pub(in super::super) runs: &'a [Run],
    pub(in super::super) segments: &'a [Segment],
    pub(in super::super) x: &'a [f32],
    /// Floats from one row of a run to the next.
    pub(in super::super) x_pitch: usize,
    /// Whether rows are laid out by [`Interleave`]; `x_pitch` is their number of inputs then.
    pub(in super::super) interleaved: bool,
    pub(in super::super) weights: Weights<'a>,
    /// Earlier sums to add, each as rows of whole panels.
    pub(in super::super) starts: &'a [&'a [f32]],
    /// Rows to add to the result, and their pitch.
    pub(in super::super) residual: Option<(&'a [f32], usize)>,
    pub(in super::super) clamp: Clamp,
    pub(in super::super) out: &'a mut [f32],
    pub(in super::super) out_pitch: usize,
}

impl Matmul<'_> {
    /// # Panics
    /// Where a slice is too short. A plan makes them long enough; the unsafe kernels rely on this check alone.
    pub(super) fn check(&self, rows_at_once: usize) {
        let Weights { inputs, outputs, width, bias, .. } = self.weights;
        assert!(bias.len() == outputs.next_multiple_of(width), "matmul: bias");
        for Run { first, rows, sees } in self.runs {
            for segment in &self.segments[sees.clone()] {
                let x = self.x.get(segment.x..).unwrap_or_default();
                assert!(self.holds_rows(x, *rows, segment.len, rows_at_once), "matmul: input");
                assert!(segment.input <= inputs && segment.len <= inputs - segment.input, "matmul: weights");
            }
            let rows = first.checked_add(*rows).unwrap_or(usize::MAX);
            assert!(holds(self.out, rows, self.out_pitch, outputs), "matmul: output");
            assert!(self.starts.iter().all(|start| holds(start, rows, bias.len(), bias.len())), "matmul: starts");
            assert!(self.residual.is_none_or(|(x, pitch)| holds(x, rows, pitch, outputs)), "matmul: residual");
        }
    }

    /// Whether `x` has `rows` rows of `len` inputs.
    fn holds_rows(&self, x: &[f32], rows: usize, len: usize, rows_at_once: usize) -> bool {
        if !self.interleaved {
            return holds(x, rows, self.x_pitch, len);
        }
        let group = |floats: usize| floats.checked_mul(rows_at_once);
        group(self.x_pitch).zip(group(len)).is_some_and(|(step, len)| holds(x, rows.div_ceil(rows_at_once), step, len))
    }
}

/// Rows to put into groups of as many as a [`matmul`](super::Kernels::matmul)
/// [computes at once](super::Kernels::rows_at_once), each `[input][row]`: it then reads one stream of memory instead of
/// one for each row. The last group is padded with zeros.
pub(in super::super) struct Interleave<'a> {
    pub(in super::super) x: &'a [f32],
    /// Floats from one row to the next.
    pub(in super::super) pitch: usize,
    pub(in super::super) rows: usize,
    pub(in super::super) inputs: usize,
    /// The groups `[group][input][row]`.
    pub(in super::super) out: &'a mut [f32],
}

impl Interleave<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    pub(super) fn check(&self, rows_at_once: usize) {
        assert!(holds(self.x, self.rows, self.pitch, self.inputs), "interleave: input");
        let group = rows_at_once.saturating_mul(self.inputs);
        assert!(holds(self.out, self.rows.div_ceil(rows_at_once), group, group), "interleave: output");
    }
}

/// The sums of the quarters `a`, `b`, `c`, `d` of a matrix that [Strassen's algorithm](super::super::strassen) multiplies:
/// `±c + d`, `±c + d ∓ a`, `±a ∓ c`, and `b` minus the second of these.
pub(in super::super) struct Quarters<'a> {
    pub(in super::super) quarters: [&'a [f32]; 4],
    /// The sign of `a` and `c`: 1 or −1.
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

/// A neighbour of a pixel that a depthwise convolution's window sees, as offsets.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Neighbour {
    /// Where the neighbour's channels begin for a run's first pixel.
    pub(in super::super) input: usize,
    /// Where the neighbour's weights begin, one for each channel.
    pub(in super::super) weight: usize,
}

/// `out[p][c] = clamp(bias[c] + Σₙ weights[n][c] · x[n][p][c])` for some pixels `p`, over their neighbours `n`.
pub(in super::super) struct Depthwise<'a> {
    pub(in super::super) runs: &'a [Run],
    pub(in super::super) neighbours: &'a [Neighbour],
    pub(in super::super) channels: usize,
    pub(in super::super) x: &'a [f32],
    /// Floats from what one pixel of a run sees to what the next one sees.
    pub(in super::super) x_step: usize,
    pub(in super::super) weights: &'a [f32],
    pub(in super::super) bias: &'a [f32],
    /// Whether the input goes through a ReLU first.
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
        for neighbour in self.neighbours {
            let weights = self.weights.get(neighbour.weight..).unwrap_or_default();
            assert!(holds(weights, 1, 0, channels), "depthwise: weights");
        }
        assert!(holds(self.bias, 1, 0, channels), "depthwise: bias");
        for Run { first, rows, sees } in self.runs {
            for neighbour in &self.neighbours[sees.clone()] {
                let x = self.x.get(neighbour.input..).unwrap_or_default();
                assert!(holds(x, *rows, self.x_step, channels), "depthwise: input");
            }
            let rows = first.checked_add(*rows).unwrap_or(usize::MAX);
            assert!(holds(self.out, rows, self.out_pitch, channels), "depthwise: output");
        }
    }
}

/// One row of positions of `G g Gᵀ`, for a panel of 3×3 kernels `g`.
pub(in super::super) struct PatchWeights<'a> {
    /// Positions of a patch along an axis, 5 or 6.
    pub(in super::super) span: usize,
    /// `[pixel of the kernel][input][width]`
    pub(in super::super) panel: &'a [f32],
    pub(in super::super) width: usize,
    pub(in super::super) inputs: usize,
    /// The index of the row of positions.
    pub(in super::super) row: usize,
    /// Position number `i` of the row begins at `i * step`, `[input][width]`.
    pub(in super::super) out: &'a mut [f32],
    pub(in super::super) step: usize,
}

impl PatchWeights<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    pub(super) fn check(&self, lanes: Option<usize>) {
        let Self { width, inputs, .. } = *self;
        assert!(lanes.is_some_and(|lanes| width.is_multiple_of(lanes)), "patch: panel");
        assert!(is_span(self.span) && self.row < self.span, "patch: row");
        assert!(holds(self.panel, KERNEL_AREA, inputs * width, inputs * width), "patch: weights");
        assert!(holds(self.out, self.span, self.step, inputs * width), "patch: transformed");
    }
}

/// `Bᵀ d B` of the inputs `d` of a patch, channel by channel.
pub(in super::super) struct PatchInput<'a> {
    /// Inputs of a patch along an axis, 5 or 6.
    pub(in super::super) span: usize,
    pub(in super::super) x: &'a [f32],
    /// Where the channels of each pixel begin, row by row; `None` in the padding, which is zero.
    pub(in super::super) pixels: [Option<usize>; MAX_SPAN * MAX_SPAN],
    pub(in super::super) channels: usize,
    /// The channels of position number `i` begin at `i * step`.
    pub(in super::super) out: &'a mut [f32],
    pub(in super::super) step: usize,
}

impl PatchInput<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    pub(super) fn check(&self, lanes: Option<usize>) {
        assert!(lanes.is_some_and(|lanes| self.channels >= lanes), "patch: channels");
        let seen = |pixel: usize| holds(self.x.get(pixel..).unwrap_or_default(), 1, 0, self.channels);
        assert!(self.pixels.iter().flatten().all(|pixel| seen(*pixel)), "patch: input");
        assert!(is_span(self.span), "patch: span");
        assert!(holds(self.out, self.span * self.span, self.step, self.channels), "patch: transformed");
    }
}

/// `clamp(Aᵀ m A + bias + residual)` of the products `m` of a patch, channel by channel.
pub(in super::super) struct PatchOutput<'a> {
    /// Positions of a patch along an axis, 5 or 6; it has two outputs fewer.
    pub(in super::super) span: usize,
    pub(in super::super) products: Products<'a>,
    pub(in super::super) channels: usize,
    /// A bias for each channel, padded to whole panels.
    pub(in super::super) bias: &'a [f32],
    /// Only x86 has kernels for patches.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(in super::super) clamp: Clamp,
    /// The numbers of the output's pixels, row by row; `None` for those outside of the map.
    pub(in super::super) pixels: [Option<usize>; MAX_SIDE * MAX_SIDE],
    /// Pixels to add to the result, and their pitch.
    pub(in super::super) residual: Option<(&'a [f32], usize)>,
    pub(in super::super) out: &'a mut [f32],
    pub(in super::super) out_pitch: usize,
}

/// The products of a patch. The channels are split into parts of `width` channels, one or more panels each; the
/// products of a part at position (y, x) begin at `y * row_step + part * part_step + x * step`.
#[derive(Clone, Copy)]
pub(in super::super) struct Products<'a> {
    pub(in super::super) data: &'a [f32],
    pub(in super::super) width: usize,
    pub(in super::super) row_step: usize,
    pub(in super::super) part_step: usize,
    pub(in super::super) step: usize,
}

impl PatchOutput<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    pub(super) fn check(&self, lanes: Option<usize>) {
        let (channels, Products { data, width, row_step, part_step, step }) = (self.channels, self.products);
        assert!(lanes.is_some_and(|lanes| width > 0 && width.is_multiple_of(lanes)), "patch: panel");
        assert!(channels > 0 && self.bias.len() >= channels.next_multiple_of(lanes.unwrap_or(1)), "patch: bias");
        assert!(is_span(self.span), "patch: span");
        let last = [(self.span - 1, row_step), ((channels - 1) / width, part_step), (self.span - 1, step), (1, width)];
        let end = last.iter().try_fold(0, |sum: usize, (count, step)| sum.checked_add(count.checked_mul(*step)?));
        assert!(end.is_some_and(|end| end <= data.len()), "patch: products");
        let pixels = self.pixels.iter().flatten().max().map_or(0, |last| last.saturating_add(1));
        assert!(holds(self.out, pixels, self.out_pitch, channels), "patch: output");
        assert!(self.residual.is_none_or(|(x, pitch)| holds(x, pixels, pitch, channels)), "patch: residual");
    }
}

/// Whether there are kernels for patches with this number of inputs along an axis.
fn is_span(span: usize) -> bool {
    matches!(span, 5 | MAX_SPAN)
}

/// Whether a slice has `rows` rows of `values` values, `pitch` apart.
fn holds(slice: &[f32], rows: usize, pitch: usize, values: usize) -> bool {
    let Some(last) = rows.checked_sub(1) else { return true };
    last.checked_mul(pitch).and_then(|start| start.checked_add(values)).is_some_and(|end| end <= slice.len())
}
