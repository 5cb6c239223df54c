//! AVX-512: 16 lanes, 32 registers, of which an 8×48 tile takes 24 for sums, 3 for weights and 1 for an input. 12×32 and
//! 14×32 would leave fewer idle, and load more inputs for each multiply-add.

use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps, _mm512_min_ps, _mm512_set1_ps,
    _mm512_storeu_ps,
};

use super::lanes::{self, Lanes};
use super::{Depthwise, Matmul, Quarters, TileInput, TileOutput, TileWeights, tiles};

pub(super) const LANES: usize = 16;
/// Of a panel.
const VECTORS: usize = 3;
pub(super) const PANEL_WIDTH: usize = VECTORS * LANES;
pub(super) const TILE_ROWS: usize = 8;

/// # Safety
/// AVX-512 F exists.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply_adds(rounds: usize) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { lanes::multiply_adds::<__m512>(rounds) }
}

/// # Safety
/// AVX-512 F exists, and the arguments are [checked](Matmul::check).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn matmul(args: Matmul<'_>) {
    // SAFETY: the caller's promises; `Kernels` packs panels of `PANEL_WIDTH`.
    unsafe { lanes::matmul::<__m512, TILE_ROWS, VECTORS>(args) }
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
/// AVX-512 F exists, and the arguments are [checked](TileWeights::check).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn tile_weights(args: TileWeights<'_>) {
    // SAFETY: the caller's promises.
    unsafe { tiles::weights::<__m512>(args) }
}

/// # Safety
/// AVX-512 F exists, and the arguments are [checked](TileInput::check).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn tile_input(args: TileInput<'_>) {
    // SAFETY: the caller's promises.
    unsafe { tiles::input::<__m512>(args) }
}

/// # Safety
/// AVX-512 F exists, and the arguments are [checked](TileOutput::check).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn tile_output(args: TileOutput<'_>) {
    // SAFETY: the caller's promises.
    unsafe { tiles::output::<__m512>(args) }
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

    // Of two operands of which one is NaN, the instruction returns the second.
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
