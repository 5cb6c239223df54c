//! The inner loops, in one version per instruction set behind a common interface, chosen at run time.
//!
//! [`portable`] is safe Rust and runs everywhere. The tests compare all versions with the same references.

mod args;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
#[cfg(target_arch = "x86_64")]
mod interleave;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod packed;
#[cfg(target_arch = "x86_64")]
mod patch;
mod portable;
#[cfg(test)]
pub(super) mod tests;

use std::time::Instant;

pub(super) use args::{
    Depthwise, Interleave, KERNEL_AREA, MAX_SPAN, Matmul, Neighbour, PatchInput, PatchOutput, PatchWeights, Products,
    Quarters, Run, Segment,
};
pub(super) use packed::{Packed, Weights};

use crate::error::Result;
use crate::exec::choice::{Isa, Precision};
use args::CHAINS;

/// Evaluates `$vectors` with `$set` as the module of the instruction set's kernels, or `$portable` for the portable
/// kernels.
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

/// Like `with_set`, for the bf16 kernels, which not all sets have.
///
/// # Panics
/// Where a set has no bf16 kernels.
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

/// Measures the peak floating-point operations per second that all threads of the current rayon pool reach together
/// with these instructions, as a reference for a kernel's speed. It takes a moment. `None` where this machine lacks the
/// instructions.
pub fn peak_flops(isa: Isa, precision: Precision) -> Option<f64> {
    /// Some milliseconds each, so that the clock's resolution and the start of the threads do not matter.
    const ROUNDS: usize = 1 << 20;
    const REPEATS: usize = 7;
    let kernels = Kernels::new(isa, precision).ok()?;
    let burst = || {
        let start = Instant::now();
        let operations: usize = rayon::broadcast(|_| kernels.multiply_adds(precision, ROUNDS)).into_iter().sum();
        operations as f64 / start.elapsed().as_secs_f64()
    };
    Some((0..REPEATS).map(|_| burst()).fold(0.0, f64::max))
}

/// The kernels of an instruction set that this machine has. The bf16 kernels may be called only where the machine
/// [supports](Isa::supports) them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernels(Isa);

impl Kernels {
    /// # Errors
    /// [`Error::Executor`](crate::Error::Executor) where this machine does not support the set at the precision.
    pub(super) fn new(isa: Isa, precision: Precision) -> Result<Self> {
        isa.require(precision)?;
        Ok(Self(isa))
    }

    pub(super) fn isa(self) -> Isa {
        self.0
    }

    /// How many outputs a matmul computes at once: the width of a panel of [`Packed`] weights.
    pub(super) fn panel_width(self) -> usize {
        with_set!(self.0, |set| set::PANEL_WIDTH, portable::PANEL_WIDTH)
    }

    /// How many rows a matmul computes at once; blocks of a multiple of them are the fastest.
    pub(super) fn rows_at_once(self) -> usize {
        with_set!(self.0, |set| set::ROWS_AT_ONCE, portable::ROWS_AT_ONCE)
    }

    /// Multiplies and adds in registers for `rounds` rounds, and returns the number of operations.
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
        2 * rounds * CHAINS * lanes * bf16::per_word(precision)
    }

    /// # Panics
    /// Where the arguments do not fit each other, or the weights are packed for other kernels.
    pub(super) fn matmul(self, args: Matmul<'_>) {
        assert_eq!(args.weights.width, self.panel_width(), "matmul: panels");
        args.check(self.rows_at_once());
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
        args.check(self.rows_at_once());
        with_set!(
            self.0,
            // SAFETY: as for `matmul`.
            |set| unsafe { set::interleave(args) },
            portable::interleave(args)
        );
    }

    /// Rounds to bf16, two numbers to each of `words`; an odd number at the end is paired with zero.
    ///
    /// # Panics
    /// Where there are too few words.
    pub(super) fn round(self, x: &[f32], words: &mut [f32]) {
        assert!(words.len() >= x.len().div_ceil(2), "round: words");
        // SAFETY: the instructions have been detected.
        let done = with_bf16!(self.0, |set| unsafe { set::round(x, words) }, 0);
        bf16::round(&x[2 * done..], &mut words[done..]);
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

    /// The vector lanes of the kernels for patches of [Winograd's algorithm](super::winograd), which need at least as
    /// many channels. `None` where there are no such kernels.
    pub(super) fn patch_lanes(self) -> Option<usize> {
        with_set!(self.0, |set| Some(set::LANES), None)
    }

    /// # Panics
    /// Where a slice is too short, or there are no [lanes](Self::patch_lanes). The same holds for the other patch
    /// kernels.
    pub(super) fn patch_input(self, args: PatchInput<'_>) {
        args.check(self.patch_lanes());
        with_set!(
            self.0,
            // SAFETY: as for `matmul`; `check` has found a vector of channels.
            |set| unsafe { set::patch_input(args) },
            unreachable!("checked")
        );
    }

    pub(super) fn patch_weights(self, args: PatchWeights<'_>) {
        assert_eq!(args.width, self.panel_width(), "patch: panels");
        args.check(self.patch_lanes());
        with_set!(
            self.0,
            // SAFETY: as for `patch_input`.
            |set| unsafe { set::patch_weights(args) },
            unreachable!("checked")
        );
    }

    pub(super) fn patch_output(self, args: PatchOutput<'_>) {
        args.check(self.patch_lanes());
        with_set!(
            self.0,
            // SAFETY: as for `patch_input`.
            |set| unsafe { set::patch_output(args) },
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
