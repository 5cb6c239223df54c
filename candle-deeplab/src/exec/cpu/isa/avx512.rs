//! AVX-512: 16 lanes and 32 registers. A matmul of 8 rows by 48 outputs takes 24 of them for sums, 3 for weights and 1
//! for an input. 12 or 14 rows by 32 outputs would leave fewer registers idle, but load more inputs for each
//! multiply-add.

use std::arch::x86_64::{
    __m512, __m512bh, _mm512_add_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_max_ps, _mm512_min_ps, _mm512_set1_ps, _mm512_storeu_ps,
};
use std::mem::transmute;

use super::args::{Depthwise, Interleave, Matmul, PatchInput, PatchOutput, PatchWeights, Quarters};
use super::lanes::{self, F32, Lanes, MulAdd};
use super::{interleave, patch};

pub(super) const LANES: usize = 16;
/// Vectors of a panel.
const VECTORS: usize = 3;
pub(super) const PANEL_WIDTH: usize = VECTORS * LANES;
pub(super) const ROWS_AT_ONCE: usize = 8;

/// # Safety
/// AVX-512 F exists.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply_adds(rounds: usize) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { lanes::multiply_adds::<__m512, F32>(rounds) }
}

/// # Safety
/// AVX-512 F and BF16 exist.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn multiply_adds_bf16(rounds: usize) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { lanes::multiply_adds::<__m512, Bf16>(rounds) }
}

/// # Safety
/// AVX-512 F exists, and the arguments are [checked](Matmul::check).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn matmul(args: Matmul<'_>) {
    // SAFETY: the caller's promises; `Kernels` packs panels of `PANEL_WIDTH`.
    unsafe { lanes::matmul::<__m512, F32, ROWS_AT_ONCE, VECTORS>(args) }
}

/// # Safety
/// AVX-512 F and BF16 exist, and the arguments are [checked](Matmul::check).
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn matmul_bf16(args: Matmul<'_>) {
    // SAFETY: the caller's promises; `Kernels` packs panels of `PANEL_WIDTH`.
    unsafe { lanes::matmul::<__m512, Bf16, ROWS_AT_ONCE, VECTORS>(args) }
}

/// Rounds to bf16, two numbers to a word, and returns how many words it has filled; fewer than 32 numbers remain.
///
/// # Safety
/// AVX-512 F and BF16 exist.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn round(x: &[f32], words: &mut [f32]) -> usize {
    let pairs = x.as_chunks::<{ 2 * LANES }>().0.iter().zip(words.as_chunks_mut::<LANES>().0);
    let len = pairs.len() * LANES;
    for (x, words) in pairs {
        // SAFETY: the caller's promise; the chunks have these vectors.
        unsafe {
            let (first, second) = (_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(LANES)));
            let rounded: __m512 = transmute(_mm512_cvtne2ps_pbh(second, first));
            _mm512_storeu_ps(words.as_mut_ptr(), rounded);
        }
    }
    len
}

/// Each word is two bf16 numbers.
struct Bf16;

impl MulAdd<__m512> for Bf16 {
    #[inline(always)]
    unsafe fn add(x: __m512, weights: __m512, sum: __m512) -> __m512 {
        // SAFETY: the caller knows that AVX-512 BF16 exists; the types are the same bits.
        unsafe { _mm512_dpbf16_ps(sum, transmute::<__m512, __m512bh>(x), transmute::<__m512, __m512bh>(weights)) }
    }
}

/// # Safety
/// AVX-512 F exists, and the arguments are [checked](Interleave::check).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn interleave(args: Interleave<'_>) {
    // SAFETY: the caller's promises; where there is AVX-512, there is AVX2.
    unsafe { interleave::interleave::<ROWS_AT_ONCE>(args) }
}

/// # Safety
/// AVX-512 F exists, and the arguments are [checked](Quarters::check).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn quarters(args: Quarters<'_>) {
    // SAFETY: the caller's promises.
    unsafe { lanes::quarters::<__m512>(args) }
}

/// # Safety
/// AVX-512 F exists, the arguments are [checked](Depthwise::check), and there are at least `LANES` channels.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn depthwise(args: Depthwise<'_>) {
    // SAFETY: the caller's promises.
    unsafe { lanes::depthwise::<__m512, 4, 4>(args) }
}

/// # Safety
/// AVX-512 F exists, and the arguments are [checked](PatchWeights::check).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn patch_weights(args: PatchWeights<'_>) {
    // SAFETY: the caller's promises.
    unsafe {
        match args.span {
            6 => patch::weights::<__m512, 6>(args),
            _ => patch::weights::<__m512, 5>(args),
        }
    }
}

/// # Safety
/// AVX-512 F exists, and the arguments are [checked](PatchInput::check).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn patch_input(args: PatchInput<'_>) {
    // SAFETY: the caller's promises.
    unsafe {
        match args.span {
            6 => patch::input::<__m512, 6>(args),
            _ => patch::input::<__m512, 5>(args),
        }
    }
}

/// # Safety
/// AVX-512 F exists, and the arguments are [checked](PatchOutput::check).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn patch_output(args: PatchOutput<'_>) {
    // SAFETY: the caller's promises.
    unsafe {
        match args.span {
            6 => patch::output::<__m512, 6>(args),
            _ => patch::output::<__m512, 5>(args),
        }
    }
}

impl Lanes for __m512 {
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller knows that AVX-512 F exists.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller knows that AVX-512 F exists, and of 16 floats.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller knows that AVX-512 F exists, and of 16 floats.
        unsafe { _mm512_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller knows that AVX-512 F exists.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // SAFETY: the caller knows that AVX-512 F exists.
        unsafe { _mm512_fmadd_ps(self, factor, sum) }
    }

    // If an operand is NaN, the instruction returns the second one.
    #[inline(always)]
    unsafe fn at_least(self, low: Self) -> Self {
        // SAFETY: the caller knows that AVX-512 F exists.
        unsafe { _mm512_max_ps(low, self) }
    }

    #[inline(always)]
    unsafe fn at_most(self, high: Self) -> Self {
        // SAFETY: the caller knows that AVX-512 F exists.
        unsafe { _mm512_min_ps(high, self) }
    }
}
