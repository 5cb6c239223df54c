//! The transforms of Winograd's F(4×4, 3×3), written once over the vector type, as the kernels in [`lanes`](super::lanes).

use super::lanes::Lanes;
use super::{TileInput, TileOutput};
use crate::exec::cpu::winograd::{POSITIONS, SPAN, TILE};

/// `Bᵀ d B`.
///
/// # Safety
/// The vector's instructions exist, and the arguments are [checked](TileInput::check) for its lanes.
#[inline(always)]
pub(super) unsafe fn input<V: Lanes>(args: TileInput<'_>) {
    let mut channel = 0;
    while channel < args.channels {
        // The last vector overlaps the one before it where the channels do not divide: the same values once more.
        channel = channel.min(args.channels - V::LANES);
        // SAFETY: `check` has found `channels` values behind every pixel and at every position of `out`.
        unsafe {
            let mut rows = [[V::splat(0.0); SPAN]; SPAN];
            for (y, row) in rows.iter_mut().enumerate() {
                let mut x = [V::splat(0.0); SPAN];
                for (i, x) in x.iter_mut().enumerate() {
                    if let Some(pixel) = args.pixels[y * SPAN + i] {
                        *x = V::load(args.x.as_ptr().add(pixel + channel));
                    }
                }
                *row = input_axis(x);
            }
            let columns: [[V; SPAN]; SPAN] = std::array::from_fn(|i| rows.map(|row| row[i]));
            for (i, column) in columns.into_iter().enumerate() {
                let column = input_axis(column);
                for (y, value) in column.into_iter().enumerate() {
                    value.store(args.out.as_mut_ptr().add((y * SPAN + i) * args.channels + channel));
                }
            }
        }
        channel += V::LANES;
    }
}

/// `Aᵀ m A`, and what is fused behind it.
///
/// # Safety
/// The vector's instructions exist, and the arguments are [checked](TileOutput::check) for its lanes.
#[inline(always)]
pub(super) unsafe fn output<V: Lanes>(args: TileOutput<'_>) {
    const { assert!(POSITIONS == SPAN * SPAN) };
    let channels = args.bias.len();
    let mut channel = 0;
    while channel < channels {
        channel = channel.min(channels - V::LANES);
        // SAFETY: `check` has found `channels` values at every position, in the bias, and at every pixel of the output and
        // the residual.
        unsafe {
            let mut rows = [[V::splat(0.0); TILE]; SPAN];
            for (y, row) in rows.iter_mut().enumerate() {
                let at = |i| V::load(args.products.as_ptr().add((y * SPAN + i) * args.step + channel));
                *row = output_axis([at(0), at(1), at(2), at(3), at(4), at(5)]);
            }
            let bias = V::load(args.bias.as_ptr().add(channel));
            let (low, high) = (V::splat(args.clamp.low), V::splat(args.clamp.high));
            let columns: [[V; SPAN]; TILE] = std::array::from_fn(|i| rows.map(|row| row[i]));
            for (i, column) in columns.into_iter().enumerate() {
                let column = output_axis(column);
                for (y, value) in column.into_iter().enumerate() {
                    let Some(pixel) = args.pixels[y * TILE + i] else { continue };
                    let mut value = value.add(bias);
                    if let Some((residual, pitch)) = args.residual {
                        value = value.add(V::load(residual.as_ptr().add(pixel * pitch + channel)));
                    }
                    let out = args.out.as_mut_ptr().add(pixel * args.out_pitch + channel);
                    value.at_least(low).at_most(high).store(out);
                }
            }
        }
        channel += V::LANES;
    }
}

/// `Bᵀ` times a row or column.
///
/// # Safety
/// The vector's instructions exist.
#[inline(always)]
unsafe fn input_axis<V: Lanes>([a, b, c, d, e, f]: [V; SPAN]) -> [V; SPAN] {
    // SAFETY: the caller's promise.
    unsafe {
        let times = |x: V, factor: f32, sum: V| x.mul_add(V::splat(factor), sum);
        let (even, odd) = (times(c, -4.0, e), times(b, -4.0, d));
        let (even2, odd2) = (times(c, -1.0, e), times(b, -1.0, d));
        [
            times(a, 4.0, times(c, -5.0, e)),
            even.add(odd),
            times(odd, -1.0, even),
            times(odd2, 2.0, even2),
            times(odd2, -2.0, even2),
            times(b, 4.0, times(d, -5.0, f)),
        ]
    }
}

/// `Aᵀ` times a row or column.
///
/// # Safety
/// The vector's instructions exist.
#[inline(always)]
unsafe fn output_axis<V: Lanes>([a, b, c, d, e, f]: [V; SPAN]) -> [V; TILE] {
    // SAFETY: the caller's promise.
    unsafe {
        let times = |x: V, factor: f32, sum: V| x.mul_add(V::splat(factor), sum);
        let (near, across) = (b.add(c), times(c, -1.0, b));
        let (far, far_across) = (d.add(e), times(e, -1.0, d));
        [
            a.add(near).add(far),
            times(far_across, 2.0, across),
            times(far, 4.0, near),
            times(far_across, 8.0, across).add(f),
        ]
    }
}
