//! The kernels of every vector instruction set, written once over the vector type. A file per set ([`avx2`](super::avx2))
//! gives the type's operations and compiles the kernels with its instructions switched on.

use super::{CHAINS, Depthwise, Matmul, Run};

/// A vector of floats.
///
/// Everything is inlined into a function with the right `target_feature`: a call would pass vectors through memory.
///
/// # Safety
/// The instructions exist only where the implementing set has been detected: callers of any method make sure of it.
/// `load` and `store` also need `LANES` floats behind the pointer, aligned as a float is.
pub(super) trait Lanes: Copy {
    const LANES: usize;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    /// `self · factor + sum`, rounded once.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    /// At least `low`; NaN stays NaN.
    unsafe fn at_least(self, low: Self) -> Self;
    /// At most `high`; NaN stays NaN.
    unsafe fn at_most(self, high: Self) -> Self;
}

/// The widest vector's lanes, twice: a panel.
const MAX_PANEL: usize = 32;

/// Multiply-adds that need nothing but registers.
///
/// # Safety
/// The vector's instructions exist.
#[inline(always)]
pub(super) unsafe fn multiply_adds<V: Lanes>(rounds: usize) -> f32 {
    // SAFETY: the caller's promise; the array has a vector's lanes.
    unsafe {
        // Neither grows nor shrinks towards numbers that a processor is slow with.
        let (factor, mut sums) = (V::splat(std::hint::black_box(0.5)), [V::splat(1.0); CHAINS]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, factor);
            }
        }
        let mut lanes = [0f32; MAX_PANEL];
        let sum = sums.into_iter().fold(V::splat(0.0), |a, b| a.add(b));
        sum.store(lanes.as_mut_ptr());
        lanes.iter().sum()
    }
}

/// A matmul by tiles of `ROWS` rows and two vectors of outputs, all inputs summed up in registers.
///
/// # Safety
/// The vector's instructions exist, the arguments are [checked](Matmul::check), and the panels are two vectors wide.
#[inline(always)]
pub(super) unsafe fn matmul<V: Lanes, const ROWS: usize>(mut args: Matmul<'_>) {
    debug_assert_eq!(args.weights.width, 2 * V::LANES);
    let weights = args.weights;
    // A panel stays in the nearest cache while the block's rows pass by.
    for (panel, bias, first, columns) in weights.panels() {
        for run in args.runs {
            let mut row = 0;
            while row < run.rows {
                let left = run.rows - row;
                // Tiles of one size, give or take a row: a last one of a single row would wait for each addition.
                let rows = left.div_ceil(left.div_ceil(ROWS));
                let at = Tile { panel, bias, first, columns, run, row };
                // SAFETY: the caller's promises; `tile` gets no more rows than are left.
                row += unsafe {
                    match (rows, columns > V::LANES) {
                        (1, true) => tile::<V, 1, 2>(&mut args, at),
                        (1, false) => tile::<V, 1, 1>(&mut args, at),
                        (2, true) => tile::<V, 2, 2>(&mut args, at),
                        (2, false) => tile::<V, 2, 1>(&mut args, at),
                        (3, true) => tile::<V, 3, 2>(&mut args, at),
                        (3, false) => tile::<V, 3, 1>(&mut args, at),
                        (4, true) => tile::<V, 4, 2>(&mut args, at),
                        (4, false) => tile::<V, 4, 1>(&mut args, at),
                        (5, true) => tile::<V, 5, 2>(&mut args, at),
                        (5, false) => tile::<V, 5, 1>(&mut args, at),
                        (_, true) => tile::<V, ROWS, 2>(&mut args, at),
                        (_, false) => tile::<V, ROWS, 1>(&mut args, at),
                    }
                };
            }
        }
    }
}

/// Which part of a matmul's result is computed.
struct Tile<'a> {
    panel: &'a [f32],
    bias: &'a [f32],
    first: usize,
    columns: usize,
    run: &'a Run,
    /// Of the run.
    row: usize,
}

/// Computes `R` rows and `C` vectors of outputs; returns `R`.
///
/// # Safety
/// As [`matmul`], and the rows exist.
#[inline(always)]
unsafe fn tile<V: Lanes, const R: usize, const C: usize>(args: &mut Matmul<'_>, at: Tile<'_>) -> usize {
    let (inputs, width) = (args.weights.inputs, 2 * V::LANES);
    let Tile { panel, bias, first, columns, run, row } = at;
    debug_assert!(panel.len() == inputs * width && bias.len() == width && columns <= C * V::LANES);
    // SAFETY: `check` has found the run's rows of every segment in `x`, its inputs among the weights', and its rows of
    // `outputs` values in `out` and `residual`; `row + R <= run.rows`, `first + columns <= outputs`. The panel has `inputs`
    // times two vectors, the bias two vectors.
    unsafe {
        let mut sums = [[V::splat(0.0); C]; R];
        for c in 0..C {
            let bias = V::load(bias.as_ptr().add(c * V::LANES));
            for sums in &mut sums {
                sums[c] = bias;
            }
        }
        for segment in &args.segments[run.segments.clone()] {
            let x = args.x.as_ptr().add(segment.x + row * args.x_pitch);
            let mut w = panel.as_ptr().add(segment.input * width);
            for k in 0..segment.len {
                let mut weights = [V::splat(0.0); C];
                for (c, weights) in weights.iter_mut().enumerate() {
                    *weights = V::load(w.add(c * V::LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = V::splat(*x.add(r * args.x_pitch + k));
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = x.mul_add(weights, *sum);
                    }
                }
                w = w.add(width);
            }
        }
        let row = run.first + row;

        let (low, high) = (V::splat(args.clamp.low), V::splat(args.clamp.high));
        let whole = columns == C * V::LANES;
        for (r, sums) in sums.iter().enumerate() {
            let out = args.out.as_mut_ptr().add((row + r) * args.out_pitch + first);
            let residual = args.residual.map(|(x, pitch)| x.as_ptr().add((row + r) * pitch + first));
            if whole {
                for (c, sum) in sums.iter().enumerate() {
                    let mut sum = *sum;
                    if let Some(residual) = residual {
                        sum = sum.add(V::load(residual.add(c * V::LANES)));
                    }
                    sum.at_least(low).at_most(high).store(out.add(c * V::LANES));
                }
            } else {
                let mut tail = [0f32; MAX_PANEL];
                for (c, sum) in sums.iter().enumerate() {
                    sum.store(tail.as_mut_ptr().add(c * V::LANES));
                }
                for (i, sum) in tail.iter().enumerate().take(columns) {
                    let residual = residual.map_or(0.0, |residual| *residual.add(i));
                    *out.add(i) = args.clamp.apply(sum + residual);
                }
            }
        }
    }
    R
}

/// Pixels that share the load of a tap's weights.
const PIXELS: usize = 4;

/// A depthwise convolution by vectors of channels, a few pixels at once.
///
/// # Safety
/// The vector's instructions exist, the arguments are [checked](Depthwise::check), and there is at least one vector of
/// channels.
#[inline(always)]
pub(super) unsafe fn depthwise<V: Lanes>(mut args: Depthwise<'_>) {
    let mut pixel = 0;
    while pixel < args.pixels {
        // SAFETY: the caller's promises; `pixels` gets no more pixels than are left.
        pixel += unsafe {
            match (args.pixels - pixel, args.relu_input) {
                (PIXELS.., true) => pixels::<V, PIXELS, true>(&mut args, pixel),
                (PIXELS.., false) => pixels::<V, PIXELS, false>(&mut args, pixel),
                (_, true) => pixels::<V, 1, true>(&mut args, pixel),
                (_, false) => pixels::<V, 1, false>(&mut args, pixel),
            }
        };
    }
}

/// Computes all channels of `P` pixels; returns `P`.
///
/// # Safety
/// As [`depthwise`], and the pixels exist.
#[inline(always)]
unsafe fn pixels<V: Lanes, const P: usize, const RELU: bool>(args: &mut Depthwise<'_>, pixel: usize) -> usize {
    let channels = args.channels;
    debug_assert!(channels >= V::LANES && pixel + P <= args.pixels);
    let mut channel = 0;
    while channel < channels {
        // The last vector overlaps the one before it where the channels do not divide: the same values once more.
        channel = channel.min(channels - V::LANES);
        // SAFETY: `check` has found `channels` values of `pixels` pixels behind every tap, in the output, and in the
        // bias and the weights of each tap; `channel + LANES <= channels` and `pixel + P <= pixels`.
        unsafe {
            let x = args.x.as_ptr().add(pixel * args.x_step + channel);
            let mut sums = [V::load(args.bias.as_ptr().add(channel)); P];
            for tap in args.taps {
                let weights = V::load(args.weights.as_ptr().add(tap.weight + channel));
                for (p, sum) in sums.iter_mut().enumerate() {
                    let mut x = V::load(x.add(tap.input + p * args.x_step));
                    if RELU {
                        x = x.at_least(V::splat(0.0));
                    }
                    *sum = x.mul_add(weights, *sum);
                }
            }
            let (low, high) = (V::splat(args.clamp.low), V::splat(args.clamp.high));
            for (p, sum) in sums.iter().enumerate() {
                let out = args.out.as_mut_ptr().add((pixel + p) * args.out_pitch + channel);
                sum.at_least(low).at_most(high).store(out);
            }
        }
        channel += V::LANES;
    }
    P
}
