//! The inner loops, once per instruction set behind one interface, chosen at run time.
//!
//! [`portable`] is safe Rust, runs everywhere, and is what the tests hold the others to.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod interleave;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod packed;
mod portable;
#[cfg(test)]
pub(super) mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;

use std::fmt;
use std::ops::Range;
use std::time::Instant;

pub(super) use packed::{Packed, Weights};

use super::winograd::{MAX_SPAN, MAX_TILE, TAPS};
use crate::error::{Error, Result};

/// What the multiplications of matmuls take. They are summed up in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, with the range of 32 and 8 bits of mantissa: values are rounded to the nearest, to even between two.
    Bf16,
}

impl Precision {
    /// So many inputs, filled up with zeros to whole words of 32 bits: what a row of [`Packed`] weights has of each tap.
    pub(super) fn padded(self, inputs: usize) -> usize {
        inputs.next_multiple_of(self.numbers())
    }

    /// What a machine that is fast with it has one of.
    fn instructions(self) -> &'static str {
        match self {
            Self::F32 => "AVX2 or AVX-512",
            Self::Bf16 => "AVX512_BF16",
        }
    }

    /// That a word of 32 bits holds.
    fn numbers(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

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

    /// Whether this machine has it, and it multiplies at this precision. Plain Rust does at any: slowly, but to the same
    /// rules.
    pub fn supports(self, precision: Precision) -> bool {
        self.is_available()
            && match (precision, self) {
                (Precision::F32, _) | (Precision::Bf16, Self::Portable) => true,
                #[cfg(target_arch = "x86_64")]
                (Precision::Bf16, Self::Avx512) => is_x86_feature_detected!("avx512bf16"),
                (Precision::Bf16, _) => false,
            }
    }

    /// The fastest instruction set of this machine with instructions for a precision.
    ///
    /// # Errors
    /// [`Error::Executor`] where only plain Rust [supports](Self::supports) it.
    pub fn detect_for(precision: Precision) -> Result<Self> {
        let fast = Self::available().find(|isa| *isa != Self::Portable && isa.supports(precision));
        fast.ok_or_else(|| lacking(&format!("no instructions for {precision} ({})", precision.instructions())))
    }

    /// # Errors
    /// [`Error::Executor`] where it does not [support](Self::supports) the precision.
    pub(crate) fn require(self, precision: Precision) -> Result<()> {
        match self.supports(precision) {
            true => Ok(()),
            false if self.is_available() => Err(lacking(&format!("no {self} instructions for {precision}"))),
            false => Err(lacking(&format!("no {self}"))),
        }
    }
}

fn lacking(what: &str) -> Error {
    Error::Executor(format!("this machine has {what}: choose f32 with `Executor::Auto`, or the slow portable kernels"))
}

impl Isa {
    /// The most floating-point operations a second that all threads of the current rayon pool do together with these
    /// instructions, measured in a moment: what a kernel's speed is compared with. `None` where this machine lacks them.
    pub fn peak_flops(self, precision: Precision) -> Option<f64> {
        /// Some milliseconds each, so that the clock's steps and the start of the threads do not count.
        const ROUNDS: usize = 1 << 20;
        const REPEATS: usize = 7;
        let kernels = Kernels::new(self, precision).ok()?;
        let burst = || {
            let start = Instant::now();
            let operations: usize = rayon::broadcast(|_| kernels.multiply_adds(precision, ROUNDS)).into_iter().sum();
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

/// The same for the kernels of bf16, which fewer have.
///
/// # Panics
/// Where the set has none.
macro_rules! with_bf16 {
    ($isa:expr, |$set:ident| $vectors:expr, $portable:expr) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if Isa::Avx512.supports(Precision::Bf16) => {
                use avx512 as $set;
                $vectors
            }
            Isa::Portable => $portable,
            isa => unreachable!("{isa} has no bf16"),
        }
    };
}

/// Sums that the measurement of the peak keeps going at once: enough to hide the latency of an addition.
const CHAINS: usize = 12;

/// The kernels of an instruction set that this machine is known to have. Those of bf16 are there where it
/// [supports](Isa::supports) it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernels(Isa);

impl Kernels {
    /// # Errors
    /// As [`Isa::require`].
    pub(super) fn new(isa: Isa, precision: Precision) -> Result<Self> {
        isa.require(precision)?;
        Ok(Self(isa))
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
    fn multiply_adds(self, precision: Precision, rounds: usize) -> usize {
        let (sums, lanes) = match precision {
            Precision::F32 => with_set!(
                self.0,
                // SAFETY: `Kernels` exist only where `Isa::is_available` has detected the instructions.
                |set| (unsafe { set::multiply_adds(rounds) }, set::LANES),
                (portable::multiply_adds(rounds), portable::PANEL_WIDTH)
            ),
            Precision::Bf16 => with_bf16!(
                self.0,
                // SAFETY: the instructions have been detected.
                |set| (unsafe { set::multiply_adds_bf16(rounds) }, set::LANES),
                (portable::multiply_adds_bf16(rounds), portable::PANEL_WIDTH)
            ),
        };
        std::hint::black_box(sums);
        2 * rounds * CHAINS * lanes * precision.numbers()
    }

    /// # Panics
    /// Where the arguments do not fit each other, or the weights are packed for other kernels.
    pub(super) fn matmul(self, args: Matmul<'_>) {
        assert_eq!(args.weights.width, self.panel_width(), "matmul: panels");
        args.check(self.tile_rows());
        match args.weights.precision {
            Precision::F32 => with_set!(
                self.0,
                // SAFETY: `Kernels` exist only where `Isa::is_available` has detected the instructions, and `check` has
                // compared every slice with what the kernel reads and writes.
                |set| unsafe { set::matmul(args) },
                portable::matmul(args)
            ),
            Precision::Bf16 => with_bf16!(
                self.0,
                // SAFETY: the instructions have been detected; otherwise as above.
                |set| unsafe { set::matmul_bf16(args) },
                portable::matmul_bf16(args)
            ),
        }
    }

    /// # Panics
    /// Where the slices are too short.
    pub(super) fn interleave(self, args: Interleave<'_>) {
        args.check(self.tile_rows());
        with_set!(
            self.0,
            // SAFETY: as for `matmul`.
            |set| unsafe { set::interleave(args) },
            portable::interleave(args)
        );
    }

    /// Rounds to bf16, two numbers to each of `words`; the second of a last one that has none is zero.
    ///
    /// # Panics
    /// Where there are too few words.
    pub(super) fn round(self, x: &[f32], words: &mut [f32]) {
        assert!(words.len() >= x.len().div_ceil(2), "round: words");
        // SAFETY: the instructions have been detected.
        let done = with_bf16!(self.0, |set| unsafe { set::round(x, words) }, 0);
        portable::round(&x[2 * done..], &mut words[done..]);
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
    /// Whether rows lie as [`Interleave`] leaves them; `x_pitch` is their number of inputs then.
    pub(super) interleaved: bool,
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
    fn check(&self, tile_rows: usize) {
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
pub(super) struct Interleave<'a> {
    pub(super) x: &'a [f32],
    /// From a row to the next.
    pub(super) pitch: usize,
    pub(super) rows: usize,
    pub(super) inputs: usize,
    /// The tiles.
    pub(super) out: &'a mut [f32],
}

impl Interleave<'_> {
    /// # Panics
    /// As [`Matmul::check`].
    fn check(&self, tile_rows: usize) {
        assert!(holds(self.x, self.rows, self.pitch, self.inputs), "interleave: input");
        let tile = tile_rows.saturating_mul(self.inputs);
        assert!(holds(self.out, self.rows.div_ceil(tile_rows), tile, tile), "interleave: output");
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
    /// Positions of a tile along an axis, 5 or 6.
    pub(super) span: usize,
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
        assert!(is_span(self.span) && self.row < self.span, "tile: row");
        assert!(holds(self.panel, inputs, TAPS * width, TAPS * width), "tile: weights");
        assert!(holds(self.out, self.span, self.step, inputs * width), "tile: transformed");
    }
}

/// `Bᵀ d B` of the inputs of a tile, channel by channel.
pub(super) struct TileInput<'a> {
    /// Inputs of a tile along an axis, 5 or 6.
    pub(super) span: usize,
    pub(super) x: &'a [f32],
    /// Where the channels of each begin, row by row; `None` in the padding, which is zero.
    pub(super) pixels: [Option<usize>; MAX_SPAN * MAX_SPAN],
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
        assert!(is_span(self.span), "tile: span");
        assert!(holds(self.out, self.span * self.span, self.step, self.channels), "tile: transformed");
    }
}

/// `clamp(Aᵀ m A + bias + residual)` of the products of a tile, channel by channel.
pub(super) struct TileOutput<'a> {
    /// Positions of a tile along an axis, 5 or 6; it has two outputs fewer.
    pub(super) span: usize,
    pub(super) products: Products<'a>,
    pub(super) channels: usize,
    /// One a channel, whole panels.
    pub(super) bias: &'a [f32],
    pub(super) clamp: Clamp,
    /// The pixels of the output, row by row; `None` for those outside.
    pub(super) pixels: [Option<usize>; MAX_TILE * MAX_TILE],
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
