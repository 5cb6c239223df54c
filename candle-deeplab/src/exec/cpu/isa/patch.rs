//! The transforms of Winograd's F(4×4, 3×3) and F(3×3, 3×3), whose patches see 6×6 and 5×5 inputs: `SPAN` along an
//! axis. Like the kernels in [`lanes`](super::lanes), they are generic over the vector type.
#![expect(clippy::needless_range_loop, reason = "arrays of vectors are read in place: iterators and `map` copy them")]

use super::args::{MAX_SIDE, MAX_SPAN, PatchInput, PatchOutput, PatchWeights, Products};
use super::lanes::{LINE, Lanes, MAX_PANEL};

/// `G`, the matrix that transforms the kernel.
fn kernel(span: usize) -> &'static [[f32; 3]] {
    /// At the points 0, 1, −1, 2, −2 and ∞.
    const SIX: [[f32; 3]; MAX_SPAN] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    /// At the points 0, 1, −1, 2 and ∞.
    const FIVE: [[f32; 3]; MAX_SPAN - 1] = [
        [1.0 / 2.0, 0.0, 0.0],
        [-1.0 / 2.0, -1.0 / 2.0, -1.0 / 2.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 6.0, 1.0 / 3.0, 2.0 / 3.0],
        [0.0, 0.0, 1.0],
    ];
    if span == MAX_SPAN { &SIX } else { &FIVE }
}

/// Computes a row of positions of `G g Gᵀ`.
///
/// # Safety
/// The vector's instructions exist, and the arguments are [checked](PatchWeights::check) for its lanes.
#[inline(always)]
pub(super) unsafe fn weights<V: Lanes, const SPAN: usize>(args: PatchWeights<'_>) {
    let PatchWeights { panel, width, inputs, row, out, step, .. } = args;
    // SAFETY: `check` has found that the width is whole vectors, as many weights at every pixel of the kernel of every input,
    // and room for them at every position; the row exists.
    unsafe {
        let factors = kernel(SPAN)[row].map(|factor| V::splat(factor));
        for input in 0..inputs {
            for column in (0..width).step_by(V::LANES) {
                let weight = |at: usize| V::load(panel.as_ptr().add((at * inputs + input) * width + column));
                let down = |x: usize| {
                    let sum = weight(x).mul_add(factors[0], V::splat(0.0));
                    weight(6 + x).mul_add(factors[2], weight(3 + x).mul_add(factors[1], sum))
                };
                for (x, value) in kernel_axis::<V, SPAN>([down(0), down(1), down(2)]).into_iter().enumerate().take(SPAN)
                {
                    value.store(out.as_mut_ptr().add(x * step + input * width + column));
                }
            }
        }
    }
}

/// Computes `Bᵀ d B`.
///
/// # Safety
/// The vector's instructions exist, and the arguments are [checked](PatchInput::check) for its lanes.
#[inline(always)]
pub(super) unsafe fn input<V: Lanes, const SPAN: usize>(mut args: PatchInput<'_>) {
    let (channels, mut channel) = (args.channels, 0);
    while channel < channels {
        // SAFETY: the caller's promises; the channels exist.
        unsafe {
            if V::LANES < LINE && channels - channel >= 2 * V::LANES {
                input_channels::<V, 2, SPAN>(&mut args, channel);
                channel += 2 * V::LANES;
            } else {
                // Where the channels are not whole vectors, the last vector overlaps the one before it and computes the
                // same values again.
                input_channels::<V, 1, SPAN>(&mut args, channel.min(channels - V::LANES));
                channel += V::LANES;
            }
        }
    }
}

/// Computes `C` vectors of channels of [`input`].
///
/// # Safety
/// As [`input`], and the channels exist.
#[inline(always)]
unsafe fn input_channels<V: Lanes, const C: usize, const SPAN: usize>(args: &mut PatchInput<'_>, channel: usize) {
    // SAFETY: `check` has found `channels` values behind every pixel and at every position of `out`.
    unsafe {
        let mut rows = [[[V::splat(0.0); MAX_SPAN]; MAX_SPAN]; C];
        for i in 0..SPAN {
            for c in 0..C {
                let mut x = [V::splat(0.0); MAX_SPAN];
                for y in 0..SPAN {
                    if let Some(pixel) = args.pixels[y * SPAN + i] {
                        x[y] = V::load(args.x.as_ptr().add(pixel + channel + c * V::LANES));
                    }
                }
                let x = input_axis::<V, SPAN>(x);
                for y in 0..SPAN {
                    rows[c][y][i] = x[y];
                }
            }
        }
        for y in 0..SPAN {
            for c in 0..C {
                let x = input_axis::<V, SPAN>(rows[c][y]);
                for i in 0..SPAN {
                    x[i].store(args.out.as_mut_ptr().add((y * SPAN + i) * args.step + channel + c * V::LANES));
                }
            }
        }
    }
}

/// Computes `Aᵀ m A` and the epilogue: bias, residual and clamp.
///
/// # Safety
/// The vector's instructions exist, and the arguments are [checked](PatchOutput::check) for its lanes.
#[inline(always)]
pub(super) unsafe fn output<V: Lanes, const SPAN: usize>(mut args: PatchOutput<'_>) {
    let pairs = V::LANES < LINE && args.products.width.is_multiple_of(2 * V::LANES);
    let mut channel = 0;
    while channel < args.channels {
        // SAFETY: the caller's promises; the channels exist, and a pair of vectors is in one panel.
        unsafe {
            if pairs && args.channels - channel >= 2 * V::LANES {
                output_channels::<V, 2, SPAN>(&mut args, channel);
                channel += 2 * V::LANES;
            } else {
                output_channels::<V, 1, SPAN>(&mut args, channel);
                channel += V::LANES;
            }
        }
    }
}

/// Computes `C` vectors of channels of [`output`], of which the last vector may be partial.
///
/// # Safety
/// As [`output`]; the first channel exists, and the vectors are in its panel.
#[inline(always)]
unsafe fn output_channels<V: Lanes, const C: usize, const SPAN: usize>(args: &mut PatchOutput<'_>, channel: usize) {
    let Products { data, width, row_step, part_step, step } = args.products;
    let products = channel / width * part_step + channel % width;
    let lanes = |c: usize| (args.channels - channel - c * V::LANES).min(V::LANES);
    // SAFETY: `check` has found whole panels of products at every position and of the bias, and `channels` values at every
    // pixel of the output and the residual.
    unsafe {
        let side = SPAN - 2;
        let mut rows = [[[V::splat(0.0); MAX_SPAN]; MAX_SIDE]; C];
        for i in 0..SPAN {
            for c in 0..C {
                let at = |y| V::load(data.as_ptr().add(products + y * row_step + i * step + c * V::LANES));
                let last = if SPAN == MAX_SPAN { at(5) } else { V::splat(0.0) };
                let m = output_axis::<V, SPAN>([at(0), at(1), at(2), at(3), at(4), last]);
                for y in 0..side {
                    rows[c][y][i] = m[y];
                }
            }
        }
        let bias: [V; C] = std::array::from_fn(|c| V::load(args.bias.as_ptr().add(channel + c * V::LANES)));
        let (low, high) = (V::splat(args.clamp.low), V::splat(args.clamp.high));
        for y in 0..side {
            for c in 0..C {
                let values = output_axis::<V, SPAN>(rows[c][y]);
                let (at, lanes) = (channel + c * V::LANES, lanes(c));
                for i in 0..side {
                    let Some(pixel) = args.pixels[y * side + i] else { continue };
                    let mut value = values[i].add(bias[c]);
                    if let Some((residual, pitch)) = args.residual {
                        value = value.add(load_some(residual.as_ptr().add(pixel * pitch + at), lanes));
                    }
                    let out = args.out.as_mut_ptr().add(pixel * args.out_pitch + at);
                    store_some(value.at_least(low).at_most(high), out, lanes);
                }
            }
        }
    }
}

/// Loads the first `lanes` lanes of a vector from memory; the others are zero.
///
/// # Safety
/// The vector's instructions exist, as do `lanes` floats, at most a vector of them.
#[inline(always)]
unsafe fn load_some<V: Lanes>(from: *const f32, lanes: usize) -> V {
    // SAFETY: the caller's promises; the array has a vector's lanes.
    unsafe {
        if lanes == V::LANES {
            return V::load(from);
        }
        let mut some = [0f32; MAX_PANEL];
        std::ptr::copy_nonoverlapping(from, some.as_mut_ptr(), lanes);
        V::load(some.as_ptr())
    }
}

/// Stores the first `lanes` lanes of a vector.
///
/// # Safety
/// As for [`load_some`].
#[inline(always)]
unsafe fn store_some<V: Lanes>(value: V, to: *mut f32, lanes: usize) {
    // SAFETY: the caller's promises; the array has a vector's lanes.
    unsafe {
        if lanes == V::LANES {
            return value.store(to);
        }
        let mut some = [0f32; MAX_PANEL];
        value.store(some.as_mut_ptr());
        std::ptr::copy_nonoverlapping(some.as_ptr(), to, lanes);
    }
}

/// `G` times a row or column.
///
/// # Safety
/// The vector's instructions exist.
#[inline(always)]
unsafe fn kernel_axis<V: Lanes, const SPAN: usize>([a, b, c]: [V; 3]) -> [V; MAX_SPAN] {
    // SAFETY: the caller's promise.
    unsafe {
        let times = |x: V, factor: f32, sum: V| x.mul_add(V::splat(factor), sum);
        let zero = V::splat(0.0);
        let near = times(a.add(c), -1.0 / 6.0, zero);
        if SPAN == MAX_SPAN {
            let far = times(a, 1.0 / 24.0, times(c, 1.0 / 6.0, zero));
            [
                times(a, 1.0 / 4.0, zero),
                times(b, -1.0 / 6.0, near),
                times(b, 1.0 / 6.0, near),
                times(b, 1.0 / 12.0, far),
                times(b, -1.0 / 12.0, far),
                c,
            ]
        } else {
            [
                times(a, 1.0 / 2.0, zero),
                times(a.add(c).add(b), -1.0 / 2.0, zero),
                times(b, 1.0 / 6.0, near),
                times(a, 1.0 / 6.0, times(b, 1.0 / 3.0, times(c, 2.0 / 3.0, zero))),
                c,
                zero,
            ]
        }
    }
}

/// `Bᵀ` times a row or column.
///
/// # Safety
/// The vector's instructions exist.
#[inline(always)]
unsafe fn input_axis<V: Lanes, const SPAN: usize>([a, b, c, d, e, f]: [V; MAX_SPAN]) -> [V; MAX_SPAN] {
    // SAFETY: the caller's promise.
    unsafe {
        let times = |x: V, factor: f32, sum: V| x.mul_add(V::splat(factor), sum);
        if SPAN == MAX_SPAN {
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
        } else {
            let (odd, even) = (times(b, -1.0, d), times(c, -1.0, a));
            [
                times(even, 2.0, odd),
                times(b, -2.0, times(c, -1.0, d)),
                times(b, 2.0, times(c, -3.0, d)),
                odd,
                times(odd, -2.0, times(c, -1.0, e)),
                V::splat(0.0),
            ]
        }
    }
}

/// `Aᵀ` times a row or column.
///
/// # Safety
/// The vector's instructions exist.
#[inline(always)]
unsafe fn output_axis<V: Lanes, const SPAN: usize>([a, b, c, d, e, f]: [V; MAX_SPAN]) -> [V; MAX_SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let times = |x: V, factor: f32, sum: V| x.mul_add(V::splat(factor), sum);
        let (near, across) = (b.add(c), times(c, -1.0, b));
        if SPAN == MAX_SPAN {
            let (far, far_across) = (d.add(e), times(e, -1.0, d));
            [
                a.add(near).add(far),
                times(far_across, 2.0, across),
                times(far, 4.0, near),
                times(far_across, 8.0, across).add(f),
            ]
        } else {
            [a.add(near).add(d), times(d, 2.0, across), times(d, 4.0, near).add(e), V::splat(0.0)]
        }
    }
}
