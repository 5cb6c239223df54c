//! AVX2 and FMA: 8 lanes and 16 registers. A matmul of 6 rows by 16 outputs takes 12 of them for sums, 2 for weights
//! and 1 for an input.

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_set1_ps,
    _mm256_storeu_ps,
};

use super::args::{Depthwise, Interleave, Matmul, PatchInput, PatchOutput, PatchWeights, Quarters};
use super::lanes::{self, F32, Lanes};
use super::{interleave, patch};

pub(super) const LANES: usize = 8;
/// Vectors of a panel.
const VECTORS: usize = 2;
pub(super) const PANEL_WIDTH: usize = VECTORS * LANES;
pub(super) const ROWS_AT_ONCE: usize = 6;

/// # Safety
/// AVX2 and FMA exist.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply_adds(rounds: usize) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { lanes::multiply_adds::<__m256, F32>(rounds) }
}

/// # Safety
/// AVX2 and FMA exist, and the arguments are [checked](Matmul::check).
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn matmul(args: Matmul<'_>) {
    // SAFETY: the caller's promises; `Kernels` packs panels of `PANEL_WIDTH`.
    unsafe { lanes::matmul::<__m256, F32, ROWS_AT_ONCE, VECTORS>(args) }
}

/// # Safety
/// AVX2 and FMA exist, and the arguments are [checked](Interleave::check).
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn interleave(args: Interleave<'_>) {
    // SAFETY: the caller's promises.
    unsafe { interleave::interleave::<ROWS_AT_ONCE>(args) }
}

/// # Safety
/// AVX2 and FMA exist, and the arguments are [checked](Quarters::check).
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn quarters(args: Quarters<'_>) {
    // SAFETY: the caller's promises.
    unsafe { lanes::quarters::<__m256>(args) }
}

/// # Safety
/// AVX2 and FMA exist, the arguments are [checked](Depthwise::check), and there are at least `LANES` channels.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn depthwise(args: Depthwise<'_>) {
    // SAFETY: the caller's promises.
    unsafe { lanes::depthwise::<__m256, 4, 2>(args) }
}

/// # Safety
/// AVX2 and FMA exist, and the arguments are [checked](PatchWeights::check).
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn patch_weights(args: PatchWeights<'_>) {
    // SAFETY: the caller's promises.
    unsafe {
        match args.span {
            6 => patch::weights::<__m256, 6>(args),
            _ => patch::weights::<__m256, 5>(args),
        }
    }
}

/// # Safety
/// AVX2 and FMA exist, and the arguments are [checked](PatchInput::check).
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn patch_input(args: PatchInput<'_>) {
    // SAFETY: the caller's promises.
    unsafe {
        match args.span {
            6 => patch::input::<__m256, 6>(args),
            _ => patch::input::<__m256, 5>(args),
        }
    }
}

/// # Safety
/// AVX2 and FMA exist, and the arguments are [checked](PatchOutput::check).
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn patch_output(args: PatchOutput<'_>) {
    // SAFETY: the caller's promises.
    unsafe {
        match args.span {
            6 => patch::output::<__m256, 6>(args),
            _ => patch::output::<__m256, 5>(args),
        }
    }
}

impl Lanes for __m256 {
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller knows that AVX2 exists.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller knows that AVX2 exists, and of 8 floats.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller knows that AVX2 exists, and of 8 floats.
        unsafe { _mm256_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller knows that AVX2 exists.
        unsafe { _mm256_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // SAFETY: the caller knows that FMA exists.
        unsafe { _mm256_fmadd_ps(self, factor, sum) }
    }

    // If an operand is NaN, the instruction returns the second one.
    #[inline(always)]
    unsafe fn at_least(self, low: Self) -> Self {
        // SAFETY: the caller knows that AVX2 exists.
        unsafe { _mm256_max_ps(low, self) }
    }

    #[inline(always)]
    unsafe fn at_most(self, high: Self) -> Self {
        // SAFETY: the caller knows that AVX2 exists.
        unsafe { _mm256_min_ps(high, self) }
    }
}
