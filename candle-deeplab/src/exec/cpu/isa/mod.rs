//! The inner loops, once per instruction set behind one interface, chosen at run time.
//!
//! [`portable`] is safe Rust, runs everywhere, and is what the tests hold the others to.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod portable;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;

use std::fmt;
use std::ops::Range;
use std::time::Instant;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::winograd::{POSITIONS, SPAN, TAPS, TILE};

/// A set of vector instructions that the fused CPU executor has kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// AVX-512 (its foundation, F): 16 lanes.
    Avx512,
    /// AVX2 with FMA: 8 lanes.
    Avx2,
    /// Whatever the compiler makes of plain Rust.
    Portable,
}

impl Isa {
    /// The instruction sets that this machine has, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Avx512, Self::Avx2, Self::Portable].into_iter().filter(|isa| isa.is_available())
    }

    /// The fastest instruction set that this machine has.
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Self::Portable)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }
}

impl Isa {
    /// The most floating-point operations a second that all threads of the current rayon pool do together with these
    /// instructions, measured in a moment: what a kernel's speed is compared with. `None` where this machine lacks them.
    pub fn peak_flops(self) -> Option<f64> {
        /// Some milliseconds each, so that the clock's steps and the start of the threads do not count.
        const ROUNDS: usize = 1 << 20;
        const REPEATS: usize = 7;
        let kernels = Kernels::new(self)?;
        let burst = || {
            let start = Instant::now();
            let operations: usize = rayon::broadcast(|_| kernels.multiply_adds(ROUNDS)).into_iter().sum();
            operations as f64 / start.elapsed().as_secs_f64()
        };
        Some((0..REPEATS).map(|_| burst()).fold(0.0, f64::max))
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

/// Evaluates an expression with `$set` as the file of an instruction set's kernels, or another one for the portable ones.
macro_rules! with_set {
    ($isa:expr, |$set:ident| $vectors:expr, $portable:expr) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                use avx512 as $set;
                $vectors
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                use avx2 as $set;
                $vectors
            }
            _ => $portable,
        }
    };
}

/// Sums that the measurement of the peak keeps going at once: enough to hide the latency of an addition.
const CHAINS: usize = 12;

/// The kernels of an instruction set that this machine is known to have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernels(Isa);

impl Kernels {
    /// `None` where this machine lacks the instruction set.
    pub(super) fn new(isa: Isa) -> Option<Self> {
        isa.is_available().then_some(Self(isa))
    }

    pub(super) fn isa(self) -> Isa {
        self.0
    }

    /// Outputs that a matmul computes side by side: the width of a panel of [`Packed`] weights.
    pub(super) fn panel_width(self) -> usize {
        with_set!(self.0, |set| set::PANEL_WIDTH, portable::PANEL_WIDTH)
    }

    /// Rows that a matmul computes at once; blocks that are multiples of it are the fastest.
    pub(super) fn tile_rows(self) -> usize {
        with_set!(self.0, |set| set::TILE_ROWS, portable::TILE_ROWS)
    }

    /// Multiplies and adds in registers for so many rounds; returns the number of operations.
    fn multiply_adds(self, rounds: usize) -> usize {
        let (sums, lanes) = with_set!(
            self.0,
            // SAFETY: `Kernels` exist only where `Isa::is_available` has detected the instructions.
            |set| (unsafe { set::multiply_adds(rounds) }, set::LANES),
            (portable::multiply_adds(rounds), portable::PANEL_WIDTH)
        );
        std::hint::black_box(sums);
        2 * rounds * CHAINS * lanes
    }

    /// # Panics
    /// Where the arguments do not fit each other, or the weights are packed for other kernels.
    pub(super) fn matmul(self, args: Matmul<'_>) {
        assert_eq!(args.weights.width, self.panel_width(), "matmul: panels");
        args.check();
        with_set!(
            self.0,
            // SAFETY: `Kernels` exist only where `Isa::is_available` has detected the instructions, and `check` has compared
            // every slice with what the kernel reads and writes.
            |set| unsafe { set::matmul(args) },
            portable::matmul(args)
        );
    }

    /// # Panics
    /// Where the slices are too short.
    pub(super) fn quarters(self, args: Quarters<'_>) {
        args.check();
        with_set!(
            self.0,
            // SAFETY: as for `matmul`.
            |set| unsafe { set::quarters(args) },
            portable::quarters(args)
        );
    }

    /// Lanes of the kernels for the tiles of a [Winograd convolution](super::winograd): the least number of channels. `None`
    /// where there are none.
    pub(super) fn tile_lanes(self) -> Option<usize> {
        with_set!(self.0, |set| Some(set::LANES), None)
    }

    /// # Panics
    /// Where there are no [`tile_lanes`](Self::tile_lanes), as for the other kernels of tiles.
    pub(super) fn tile_input(self, args: TileInput<'_>) {
        args.check(self.tile_lanes());
        with_set!(
            self.0,
            // SAFETY: as for `matmul`; `check` has found a vector of channels.
            |set| unsafe { set::tile_input(args) },
            unreachable!("checked")
        );
    }

    pub(super) fn tile_weights(self, args: TileWeights<'_>) {
        assert_eq!(args.width, self.panel_width(), "tile: panels");
        args.check(self.tile_lanes());
        with_set!(
            self.0,
            // SAFETY: as for `tile_input`.
            |set| unsafe { set::tile_weights(args) },
            unreachable!("checked")
        );
    }

    pub(super) fn tile_output(self, args: TileOutput<'_>) {
        args.check(self.tile_lanes());
        with_set!(
            self.0,
            // SAFETY: as for `tile_input`.
            |set| unsafe { set::tile_output(args) },
            unreachable!("checked")
        );
    }

    pub(super) fn depthwise(self, args: Depthwise<'_>) {
        args.check();
        with_set!(
            self.0,
            |set| match args.channels >= set::LANES {
                // SAFETY: as for `matmul`, and there is a vector of channels.
                true => unsafe { set::depthwise(args) },
                false => portable::depthwise(args),
            },
            portable::depthwise(args)
        );
    }
}

/// Bounds that a result is held to: an activation, or none. NaN stays NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Clamp {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Clamp {
    pub(super) const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY };

    pub(super) fn apply(self, x: f32) -> f32 {
        x.clamp(self.low, self.high)
    }
}

/// The weights of a matmul, in the order in which it reads them: panels of `width` outputs, `[panel][input][width]`,
/// and a bias per output. What is missing in the last panel is zero.
#[derive(Debug)]
pub(super) struct Packed {
    inputs: usize,
    outputs: usize,
    width: usize,
    panels: Aligned,
    bias: Aligned,
}

impl Packed {
    /// Packs a matrix that is given by its rows: `row(output)` has a weight for each input.
    pub(super) fn new<R: Iterator<Item = f32>>(
        width: usize,
        inputs: usize,
        bias: &[f32],
        row: impl Fn(usize) -> R + Sync,
    ) -> Self {
        let outputs = bias.len();
        let padded = outputs.next_multiple_of(width);
        let (mut panels, mut padded_bias) = (Aligned::zeroed(padded * inputs), Aligned::zeroed(padded));
        panels.par_chunks_exact_mut((width * inputs).max(1)).enumerate().for_each(|(index, panel)| {
            let first = index * width;
            for column in 0..width.min(outputs - first) {
                let places = panel[column..].iter_mut().step_by(width);
                places.zip(row(first + column)).for_each(|(place, weight)| *place = weight);
            }
        });
        padded_bias[..outputs].copy_from_slice(bias);
        Self { inputs, outputs, width, panels, bias: padded_bias }
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Of a panel.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whole panels, like [`weights`](Self::weights).
    pub(super) fn bias(&self) -> &[f32] {
        &self.bias
    }

    pub(super) fn weights(&self) -> Weights<'_> {
        let Self { inputs, outputs, width, ref panels, ref bias } = *self;
        Weights { inputs, outputs, width, panels, bias }
    }

    /// The weights of a panel.
    pub(super) fn panel(&self, index: usize) -> &[f32] {
        let len = self.width * self.inputs;
        &self.panels[index * len..][..len]
    }
}

/// The weights of a matmul as [`Packed`] has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights<'a> {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) width: usize,
    pub(super) panels: &'a [f32],
    pub(super) bias: &'a [f32],
}

impl<'a> Weights<'a> {
    /// The panels with the outputs they compute: weights, bias, first output, number of outputs.
    fn panels(self) -> impl Iterator<Item = (&'a [f32], &'a [f32], usize, usize)> {
        let biases = self.bias.chunks_exact(self.width);
        biases.enumerate().map(move |(index, bias)| {
            let (first, len) = (index * self.width, self.width * self.inputs);
            (&self.panels[index * len..][..len], bias, first, self.width.min(self.outputs - first))
        })
    }
}

/// Neighbouring inputs of a matmul that lie side by side in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// Where those of a run's first row begin.
    pub(super) x: usize,
    /// The number of the first of them among the weights' inputs.
    pub(super) input: usize,
    pub(super) len: usize,
}

/// Neighbouring rows of a result that are computed from the same segments, or taps. What none of them names counts as zero.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) first: usize,
    pub(super) rows: usize,
    /// Which of the segments or taps.
    pub(super) sees: Range<usize>,
}

/// `out[r] = clamp(weights · x[r] + bias + Σ starts[r] + residual[r])` for some rows.
pub(super) struct Matmul<'a> {
    pub(super) runs: &'a [Run],
    pub(super) segments: &'a [Segment],
    pub(super) x: &'a [f32],
    /// From a row of a run to the next.
    pub(super) x_pitch: usize,
    pub(super) weights: Weights<'a>,
    /// What the sums start from beside the bias: rows of whole panels.
    pub(super) starts: &'a [&'a [f32]],
    /// Rows to add to the result, and their pitch.
    pub(super) residual: Option<(&'a [f32], usize)>,
    pub(super) clamp: Clamp,
    pub(super) out: &'a mut [f32],
    pub(super) out_pitch: usize,
}

impl Matmul<'_> {
    /// # Panics
    /// Where a slice is too short. The plan makes them long enough; this is what the unsafe kernels rely on.
    fn check(&self) {
        let Weights { inputs, outputs, width, bias, .. } = self.weights;
        assert!(bias.len() == outputs.next_multiple_of(width), "matmul: bias");
        for Run { first, rows, sees } in self.runs {
            for segment in &self.segments[sees.clone()] {
                let x = self.x.get(segment.x..).unwrap_or_default();
                assert!(holds(x, *rows, self.x_pitch, segment.len), "matmul: input");
                assert!(segment.input <= inputs && segment.len <= inputs - segment.input, "matmul: weights");
            }
            let rows = first.checked_add(*rows).unwrap_or(usize::MAX);
            assert!(holds(self.out, rows, self.out_pitch, outputs), "matmul: output");
            assert!(self.starts.iter().all(|start| holds(start, rows, bias.len(), bias.len())), "matmul: starts");
            assert!(self.residual.is_none_or(|(x, pitch)| holds(x, rows, pitch, outputs)), "matmul: residual");
        }
    }
}

/// The sums of the quarters `a`, `b`, `c`, `d` of a matrix that [Strassen's algorithm](super::strassen) multiplies:
/// `±c + d`, `±c + d ∓ a`, `±a ∓ c` and `b` without the second.
pub(super) struct Quarters<'a> {
    pub(super) quarters: [&'a [f32]; 4],
    /// Of `a` and `c`: 1 or −1.
    pub(super) sign: f32,
    pub(super) len: usize,
    /// The sums, `step` apart.
    pub(super) out: &'a mut [f32],
    pub(super) step: usize,
}

impl Quarters<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    fn check(&self) {
        assert!(self.quarters.iter().all(|quarter| quarter.len() >= self.len), "quarters: input");
        assert!(holds(self.out, 4, self.step, self.len), "quarters: output");
    }
}

/// One tap of a depthwise convolution, as offsets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    /// Of the input of a run's first pixel.
    pub(super) input: usize,
    /// Of the weights, one a channel.
    pub(super) weight: usize,
}

/// `out[p][c] = clamp(bias[c] + Σ_tap weights[tap][c] · x[tap][p][c])` for some pixels.
pub(super) struct Depthwise<'a> {
    pub(super) runs: &'a [Run],
    pub(super) taps: &'a [Tap],
    pub(super) channels: usize,
    pub(super) x: &'a [f32],
    /// From the input of a pixel of a run to that of the next.
    pub(super) x_step: usize,
    pub(super) weights: &'a [f32],
    pub(super) bias: &'a [f32],
    /// Whether the input goes through a ReLU.
    pub(super) relu_input: bool,
    pub(super) clamp: Clamp,
    pub(super) out: &'a mut [f32],
    pub(super) out_pitch: usize,
}

impl Depthwise<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    fn check(&self) {
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
pub(super) struct TileWeights<'a> {
    /// `[input][tap][width]`
    pub(super) panel: &'a [f32],
    pub(super) width: usize,
    pub(super) inputs: usize,
    /// Which row of positions.
    pub(super) row: usize,
    /// `[input][width]` of a position of the row begin at its number times `step`.
    pub(super) out: &'a mut [f32],
    pub(super) step: usize,
}

impl TileWeights<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    fn check(&self, lanes: Option<usize>) {
        let Self { width, inputs, .. } = *self;
        assert!(lanes.is_some_and(|lanes| width.is_multiple_of(lanes)), "tile: panel");
        assert!(self.row < SPAN, "tile: row");
        assert!(holds(self.panel, inputs, TAPS * width, TAPS * width), "tile: weights");
        assert!(holds(self.out, SPAN, self.step, inputs * width), "tile: transformed");
    }
}

/// `Bᵀ d B` of the inputs of a tile, channel by channel.
pub(super) struct TileInput<'a> {
    pub(super) x: &'a [f32],
    /// Where the channels of each begin; `None` in the padding, which is zero.
    pub(super) pixels: [Option<usize>; POSITIONS],
    pub(super) channels: usize,
    /// The channels of a position begin at `position * step`.
    pub(super) out: &'a mut [f32],
    pub(super) step: usize,
}

impl TileInput<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    fn check(&self, lanes: Option<usize>) {
        assert!(lanes.is_some_and(|lanes| self.channels >= lanes), "tile: channels");
        let seen = |pixel: usize| holds(self.x.get(pixel..).unwrap_or_default(), 1, 0, self.channels);
        assert!(self.pixels.iter().flatten().all(|pixel| seen(*pixel)), "tile: input");
        assert!(holds(self.out, POSITIONS, self.step, self.channels), "tile: transformed");
    }
}

/// `clamp(Aᵀ m A + bias + residual)` of the products of a tile, channel by channel.
pub(super) struct TileOutput<'a> {
    pub(super) products: Products<'a>,
    pub(super) channels: usize,
    /// One a channel, whole panels.
    pub(super) bias: &'a [f32],
    pub(super) clamp: Clamp,
    /// The pixels of the output; `None` for those outside.
    pub(super) pixels: [Option<usize>; TILE * TILE],
    /// Pixels to add to the result, and their pitch.
    pub(super) residual: Option<(&'a [f32], usize)>,
    pub(super) out: &'a mut [f32],
    pub(super) out_pitch: usize,
}

/// The products of a tile: `width` channels, one or more panels, of position (y, x) begin at
/// `y * row_step + part * part_step + x * step`.
#[derive(Clone, Copy)]
pub(super) struct Products<'a> {
    pub(super) data: &'a [f32],
    pub(super) width: usize,
    pub(super) row_step: usize,
    pub(super) part_step: usize,
    pub(super) step: usize,
}

impl TileOutput<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    fn check(&self, lanes: Option<usize>) {
        let (channels, Products { data, width, row_step, part_step, step }) = (self.channels, self.products);
        assert!(lanes.is_some_and(|lanes| width > 0 && width.is_multiple_of(lanes)), "tile: panel");
        assert!(channels > 0 && self.bias.len() >= channels.next_multiple_of(lanes.unwrap_or(1)), "tile: bias");
        let last = [(SPAN - 1, row_step), ((channels - 1) / width, part_step), (SPAN - 1, step), (1, width)];
        let end = last.iter().try_fold(0, |sum: usize, (count, step)| sum.checked_add(count.checked_mul(*step)?));
        assert!(end.is_some_and(|end| end <= data.len()), "tile: products");
        let pixels = self.pixels.iter().flatten().max().map_or(0, |last| last.saturating_add(1));
        assert!(holds(self.out, pixels, self.out_pitch, channels), "tile: output");
        assert!(self.residual.is_none_or(|(x, pitch)| holds(x, pixels, pitch, channels)), "tile: residual");
    }
}

/// Whether a slice has so many rows of so many values, `pitch` apart.
fn holds(slice: &[f32], rows: usize, pitch: usize, values: usize) -> bool {
    let Some(last) = rows.checked_sub(1) else { return true };
    last.checked_mul(pitch).and_then(|start| start.checked_add(values)).is_some_and(|end| end <= slice.len())
}
