//! Puts rows of a matmul into groups, by transposing squares of 8×8 in registers.

use std::arch::x86_64::{
    __m256, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_storeu_ps,
    _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

use super::args::Interleave;

const LANES: usize = 8;

/// Puts rows into groups of `ROWS`, `[input][row]`.
///
/// # Safety
/// AVX2 exists, and the arguments are [checked](Interleave::check).
#[inline(always)]
pub(super) unsafe fn interleave<const ROWS: usize>(args: Interleave<'_>) {
    const { assert!(ROWS <= LANES && LANES <= 2 * ROWS) };
    let Interleave { x, pitch, rows, inputs, out } = args;
    for (first, out) in (0..rows).step_by(ROWS).zip(out.chunks_exact_mut((ROWS * inputs).max(1))) {
        let there = ROWS.min(rows - first);
        let mut k = 0;
        // Where a group has fewer than 8 rows, a store also writes to the place of the next input, which is stored
        // later. There is room for that behind the square, since at least one input is left.
        while k + LANES < inputs {
            // SAFETY: `check` has found the rows with all their inputs, of which more than 8 are left. The last store begins
            // two inputs or more before the end of the group: `LANES` floats are left there.
            unsafe {
                let row = |r: usize| match r < there {
                    true => _mm256_loadu_ps(x.as_ptr().add((first + r) * pitch + k)),
                    false => _mm256_setzero_ps(),
                };
                let columns = transposed(std::array::from_fn(row));
                for (i, column) in columns.into_iter().enumerate() {
                    _mm256_storeu_ps(out.as_mut_ptr().add((k + i) * ROWS), column);
                }
            }
            k += LANES;
        }
        for (k, out) in out.chunks_exact_mut(ROWS).enumerate().skip(k) {
            for (r, out) in out.iter_mut().enumerate() {
                *out = if r < there { x[(first + r) * pitch + k] } else { 0.0 };
            }
        }
    }
}

/// # Safety
/// AVX2 exists.
#[inline(always)]
unsafe fn transposed(rows: [__m256; LANES]) -> [__m256; LANES] {
    // SAFETY: the caller's promise.
    unsafe {
        let [a, b, c, d, e, f, g, h] = rows;
        // Vector i has column i and column i + 4 of four rows.
        let (upper, lower) = (columns([a, b, c, d]), columns([e, f, g, h]));
        let near = |i: usize| _mm256_permute2f128_ps::<0x20>(upper[i], lower[i]);
        let far = |i: usize| _mm256_permute2f128_ps::<0x31>(upper[i], lower[i]);
        [near(0), near(1), near(2), near(3), far(0), far(1), far(2), far(3)]
    }
}

/// Transposes four rows, in each half of a vector on its own.
///
/// # Safety
/// AVX2 exists.
#[inline(always)]
unsafe fn columns([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd),
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        ]
    }
}
