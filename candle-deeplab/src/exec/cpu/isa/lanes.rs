//! The kernels of all vector instruction sets, written once and generic over the vector type. Each set has a file, such
//! as [`avx2`](super::avx2), which has the type's operations and compiles the kernels with its instructions enabled.
#![expect(clippy::needless_range_loop, reason = "sums stay in registers where the loops over them are counted")]

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::hint::black_box;

use super::args::{CHAINS, Depthwise, Matmul, Neighbour, Quarters, Run};
use crate::exec::fuse::Clamp;

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

/// How a matmul multiplies 32-bit words of a row by words of the weights, and adds up the products.
pub(super) trait MulAdd<V> {
    /// # Safety
    /// The instructions exist.
    unsafe fn add(x: V, weights: V, sum: V) -> V;
}

/// Each word is one f32 number.
pub(super) struct F32;

impl<V: Lanes> MulAdd<V> for F32 {
    #[inline(always)]
    unsafe fn add(x: V, weights: V, sum: V) -> V {
        // SAFETY: the caller's promise.
        unsafe { x.mul_add(weights, sum) }
    }
}

/// Floats of a cache line. Where a kernel reads or writes many rows, it takes a whole line of each at once, so that no
/// line is fetched twice.
pub(super) const LINE: usize = 16;

/// Prefetches a cache line. The address may be invalid.
#[inline(always)]
fn fetch(at: *const f32) {
    // SAFETY: every x86-64 has the instruction; it changes nothing but caches, and ignores addresses that cannot be read.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

/// The widest panel: three of the widest vectors.
pub(super) const MAX_PANEL: usize = 48;

/// The most rows that a matmul computes at once.
const MAX_ROWS: usize = 8;

/// Evaluates an expression with a number from 1 to `$most` as a constant; no code is generated for greater ones.
macro_rules! with_constant {
    ($number:expr, $most:expr, |$name:ident| $call:expr) => {
        with_constant!($number, $most, |$name| $call, 1 2 3 4 5 6 7 8)
    };
    ($number:expr, $most:expr, |$name:ident| $call:expr, $($value:literal)*) => {{
        const { assert!($most <= 8) };
        match $number {
            $($value if $value <= $most => {
                const $name: usize = $value;
                $call
            })*
            number => unreachable!("{number} of 1 to {}", $most),
        }
    }};
}

/// Runs multiply-adds that use nothing but registers.
///
/// # Safety
/// The vector's instructions exist.
#[inline(always)]
pub(super) unsafe fn multiply_adds<V: Lanes, M: MulAdd<V>>(rounds: usize) -> f32 {
    // SAFETY: the caller's promise; the array has a vector's lanes.
    unsafe {
        // As f32 about 0.5, as two bf16 numbers 0.5 each.
        let factor = V::splat(f32::from_bits(black_box(0x3f00_3f00)));
        let mut sums = [V::splat(1.0); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = M::add(factor, factor, *sum);
            }
        }
        let mut lanes = [0f32; MAX_PANEL];
        let sum = sums.into_iter().fold(V::splat(0.0), |a, b| a.add(b));
        sum.store(lanes.as_mut_ptr());
        lanes.iter().sum()
    }
}

/// Computes a matmul, `ROWS` rows and `VECTORS` vectors of outputs at once: all inputs are summed up in registers.
///
/// # Safety
/// The vector's instructions exist, the arguments are [checked](Matmul::check), and the panels are `VECTORS` vectors wide.
#[inline(always)]
pub(super) unsafe fn matmul<V: Lanes, M: MulAdd<V>, const ROWS: usize, const VECTORS: usize>(mut args: Matmul<'_>) {
    const { assert!(ROWS <= MAX_ROWS && VECTORS * V::LANES <= MAX_PANEL) };
    debug_assert_eq!(args.weights.width, VECTORS * V::LANES);
    let weights = args.weights;
    // A panel stays in the nearest cache that can hold it, while the block's rows pass by.
    for (panel, bias, first, columns) in weights.panels() {
        let vectors = columns.div_ceil(V::LANES);
        for run in args.runs {
            let mut row = 0;
            while row < run.rows {
                let left = run.rows - row;
                let rows = match args.interleaved {
                    true => left.min(ROWS),
                    // Split evenly, give or take a row: a single last row would wait for the latency of each addition.
                    false => left.div_ceil(left.div_ceil(ROWS)),
                };
                let part = Part { panel, bias, first, columns, run, row };
                with_constant!(rows, ROWS, |R| with_constant!(vectors, VECTORS, |C| {
                    // SAFETY: the caller's promises; these rows are left, where a group begins, and the panel has these
                    // vectors.
                    unsafe { compute::<V, M, R, C, VECTORS, ROWS>(&mut args, part) }
                }));
                row += rows;
            }
        }
    }
}

/// The part of a matmul's result that is computed: some rows, and the outputs of a panel.
struct Part<'a> {
    panel: &'a [f32],
    bias: &'a [f32],
    /// The first output.
    first: usize,
    columns: usize,
    run: &'a Run,
    /// The first row, counted within the run.
    row: usize,
}

/// How many inputs one iteration of the innermost loop takes. Where two threads share a core's front end, every
/// instruction around the arithmetic costs time.
const UNROLL: usize = 4;

/// Computes `R` rows and the first `C` of a panel's `VECTORS` vectors of outputs; interleaved groups have `ROWS` rows.
///
/// The compiler makes a copy of this for every `R` and `C`, and the library's build waits for it: what depends on
/// neither is done elsewhere.
///
/// # Safety
/// As [`matmul`], and the rows exist.
#[inline(always)]
unsafe fn compute<V: Lanes, M: MulAdd<V>, const R: usize, const C: usize, const VECTORS: usize, const ROWS: usize>(
    args: &mut Matmul<'_>,
    part: Part<'_>,
) {
    let width = VECTORS * V::LANES;
    let Part { panel, bias, first, columns, run, row: run_row } = part;
    debug_assert!(panel.len() == args.weights.inputs * width && bias.len() == width);
    debug_assert!(columns <= C * V::LANES && C <= VECTORS);
    // SAFETY: `check` has found the run's rows of every segment in `x`, its inputs among the weights', and its rows of
    // `outputs` values in `out` and `residual`, of whole panels in `starts`; `row + R <= run.rows`, `first + columns <=
    // outputs`. The panel has `inputs` times `VECTORS` vectors, the bias as many.
    unsafe {
        let row = run.first + run_row;
        let out = args.out.as_mut_ptr().add(row * args.out_pitch + first);
        let residual = args.residual.map(|(x, pitch)| (x.as_ptr().add(row * pitch + first), pitch));
        let pitch = args.weights.bias.len();
        // Rows are far apart, so no hardware prefetcher loads these lines before the sums are done.
        if let Some((residual, pitch)) = residual {
            fetch_rows(residual, pitch, R, C * V::LANES);
        }
        fetch_rows(out, args.out_pitch, R, C * V::LANES);
        for start in args.starts {
            fetch_rows(start.as_ptr().add(row * pitch + first), pitch, R, C * V::LANES);
        }
        let mut sums = [[V::splat(0.0); C]; R];
        for c in 0..C {
            let bias = V::load(bias.as_ptr().add(c * V::LANES));
            for sums in &mut sums {
                sums[c] = bias;
            }
        }
        for segment in &args.segments[run.sees.clone()] {
            let x = args.x.as_ptr().add(segment.x + run_row * args.x_pitch);
            let w = panel.as_ptr().add(segment.input * width);
            if args.interleaved {
                multiply_adds_of::<V, M, R, C, ROWS>(
                    &mut sums,
                    std::array::from_fn(|r| x.add(r)),
                    w,
                    width,
                    segment.len,
                );
            } else {
                // The compiler must not see how the addresses are related: it would derive each from the one above, for
                // every input.
                let x = std::array::from_fn(|r| black_box(x.add(r * args.x_pitch)));
                multiply_adds_of::<V, M, R, C, 1>(&mut sums, x, w, width, segment.len);
            }
        }
        for start in args.starts {
            let start = start.as_ptr().add(row * pitch + first);
            for r in 0..R {
                for c in 0..C {
                    sums[r][c] = sums[r][c].add(V::load(start.add(r * pitch + c * V::LANES)));
                }
            }
        }
        // Only loops with constant bounds may index the sums: otherwise the compiler puts them into memory.
        if columns < C * V::LANES {
            let mut tail = [[0f32; MAX_PANEL]; MAX_ROWS];
            for r in 0..R {
                for c in 0..C {
                    sums[r][c].store(tail[r].as_mut_ptr().add(c * V::LANES));
                }
            }
            write_columns(&tail[..R], columns, residual, args.clamp, out, args.out_pitch);
        } else {
            if let Some((residual, pitch)) = residual {
                for r in 0..R {
                    for c in 0..C {
                        sums[r][c] = sums[r][c].add(V::load(residual.add(r * pitch + c * V::LANES)));
                    }
                }
            }
            let (low, high) = (V::splat(args.clamp.low), V::splat(args.clamp.high));
            for r in 0..R {
                for c in 0..C {
                    let sum = sums[r][c].at_least(low).at_most(high);
                    sum.store(out.add(r * args.out_pitch + c * V::LANES));
                }
            }
        }
    }
}

/// Prefetches the first `floats` of each of some rows that lie `pitch` floats apart.
#[inline(never)]
fn fetch_rows(first: *const f32, pitch: usize, rows: usize, floats: usize) {
    for row in 0..rows {
        for at in (0..floats).step_by(LINE) {
            fetch(first.wrapping_add(row * pitch + at));
        }
    }
}

/// Writes the first `columns` sums of each row, where they do not fill whole vectors.
///
/// # Safety
/// These columns of as many rows exist in `out` and in the residual.
#[inline(never)]
unsafe fn write_columns(
    sums: &[[f32; MAX_PANEL]],
    columns: usize,
    residual: Option<(*const f32, usize)>,
    clamp: Clamp,
    out: *mut f32,
    out_pitch: usize,
) {
    for (r, sums) in sums.iter().enumerate() {
        for (i, sum) in sums[..columns].iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let residual = residual.map_or(0.0, |(residual, pitch)| *residual.add(r * pitch + i));
                *out.add(r * out_pitch + i) = clamp.apply(sum + residual);
            }
        }
    }
}

/// Adds the products of `len` inputs of each row and their weights, which begin at `w` and are `width` floats for each
/// input. `STEP` is the distance in floats between the inputs of a row: 1, or the number of rows of an interleaved
/// group.
///
/// # Safety
/// The vector's instructions exist, as do the inputs of every row, and their weights.
#[inline(always)]
unsafe fn multiply_adds_of<V: Lanes, M: MulAdd<V>, const R: usize, const C: usize, const STEP: usize>(
    sums: &mut [[V; C]; R],
    x: [*const f32; R],
    mut w: *const f32,
    width: usize,
    len: usize,
) {
    let unrolled = len - len % UNROLL;
    let mut k = 0;
    // SAFETY: the caller's promises.
    unsafe {
        while k < unrolled {
            for i in 0..UNROLL {
                multiply_add::<V, M, R, C>(sums, &x, (k + i) * STEP, w.add(i * width));
            }
            w = w.add(UNROLL * width);
            k += UNROLL;
        }
        while k < len {
            multiply_add::<V, M, R, C>(sums, &x, k * STEP, w);
            w = w.add(width);
            k += 1;
        }
    }
}

/// Multiplies the input `k` floats into each row by the weights at `w`, and adds the products to the sums.
///
/// # Safety
/// The vector's instructions exist, as do this input of every row and `C` vectors of weights.
#[inline(always)]
unsafe fn multiply_add<V: Lanes, M: MulAdd<V>, const R: usize, const C: usize>(
    sums: &mut [[V; C]; R],
    x: &[*const f32; R],
    k: usize,
    w: *const f32,
) {
    // SAFETY: the caller's promises.
    unsafe {
        let weights: [V; C] = std::array::from_fn(|c| V::load(w.add(c * V::LANES)));
        for r in 0..R {
            let x = V::splat(*x[r].add(k));
            for c in 0..C {
                sums[r][c] = M::add(x, weights[c], sums[r][c]);
            }
        }
    }
}

/// Computes the [sums](Quarters) of a matrix's quarters.
///
/// # Safety
/// The vector's instructions exist, and the arguments are [checked](Quarters::check).
#[inline(always)]
pub(super) unsafe fn quarters<V: Lanes>(args: Quarters<'_>) {
    let Quarters { quarters, sign, len, out, step } = args;
    let whole = len - len % V::LANES;
    // SAFETY: `check` has found `len` floats in each quarter and behind each of four steps.
    unsafe {
        let (plus, minus, less) = (V::splat(sign), V::splat(-sign), V::splat(-1.0));
        let out = out.as_mut_ptr();
        for i in (0..whole).step_by(V::LANES) {
            let [a, b, c, d] = quarters.map(|quarter| V::load(quarter.as_ptr().add(i)));
            let first = c.mul_add(plus, d);
            let second = a.mul_add(minus, first);
            first.store(out.add(i));
            second.store(out.add(step + i));
            a.mul_add(plus, c.mul_add(minus, V::splat(0.0))).store(out.add(2 * step + i));
            second.mul_add(less, b).store(out.add(3 * step + i));
        }
        for i in whole..len {
            let [a, b, c, d] = quarters.map(|quarter| quarter[i]);
            let first = sign * c + d;
            let second = first - sign * a;
            *out.add(i) = first;
            *out.add(step + i) = second;
            *out.add(2 * step + i) = sign * (a - c);
            *out.add(3 * step + i) = b - second;
        }
    }
}

/// The width of windows whose rows are read once for several pixels: what a pixel sees in one column, the next pixel
/// sees in the column before.
const COLUMNS: usize = 3;

/// Computes a depthwise convolution, `VECTORS` vectors of channels of `PIXELS` pixels at once.
///
/// # Safety
/// The vector's instructions exist, the arguments are [checked](Depthwise::check), and there is at least one vector of
/// channels.
#[inline(always)]
pub(super) unsafe fn depthwise<V: Lanes, const PIXELS: usize, const VECTORS: usize>(mut args: Depthwise<'_>) {
    debug_assert!(args.channels >= V::LANES);
    for run in args.runs {
        let neighbours = &args.neighbours[run.sees.clone()];
        let (single, rows) = (neighbours.as_chunks::<1>().0, window_rows(neighbours, args.x_step));
        let mut pixel = 0;
        while pixel < run.rows {
            let left = run.rows - pixel;
            // As for the rows of a matmul: a single last pixel would wait for the latency of each addition.
            let pixels = left.div_ceil(left.div_ceil(PIXELS));
            with_constant!(pixels, PIXELS, |P| {
                // SAFETY: the caller's promises; these pixels are left, and the neighbours are the run's.
                unsafe {
                    match (rows, args.relu_input) {
                        (Some(rows), true) => pixels_of::<V, P, VECTORS, true, _>(&mut args, rows, run, pixel),
                        (Some(rows), false) => pixels_of::<V, P, VECTORS, false, _>(&mut args, rows, run, pixel),
                        (None, true) => pixels_of::<V, P, VECTORS, true, _>(&mut args, single, run, pixel),
                        (None, false) => pixels_of::<V, P, VECTORS, false, _>(&mut args, single, run, pixel),
                    }
                }
            });
            pixel += pixels;
        }
    }
}

/// The neighbours as rows of a window; `None` if they do not form whole rows.
fn window_rows(neighbours: &[Neighbour], x_step: usize) -> Option<&[[Neighbour; COLUMNS]]> {
    let (rows, rest) = neighbours.as_chunks();
    let next = |pair: &[Neighbour]| pair[1].input.checked_sub(pair[0].input) == Some(x_step);
    (rest.is_empty() && rows.iter().all(|row| row.windows(2).all(next))).then_some(rows)
}

/// Computes all channels of `P` pixels of a run, from neighbours in [rows](window_rows) of `T`, or one by one (`T` =
/// 1).
///
/// # Safety
/// As [`depthwise`], the pixels exist, and the neighbours are those of the run.
#[inline(always)]
unsafe fn pixels_of<V: Lanes, const P: usize, const VECTORS: usize, const RELU: bool, const T: usize>(
    args: &mut Depthwise<'_>,
    rows: &[[Neighbour; T]],
    run: &Run,
    pixel: usize,
) {
    let mut channel = 0;
    while channel < args.channels {
        // SAFETY: the caller's promises; `vectors` gets channels that exist.
        unsafe {
            if args.channels - channel >= VECTORS * V::LANES {
                vectors::<V, P, VECTORS, RELU, T>(args, rows, run, pixel, channel);
                channel += VECTORS * V::LANES;
            } else {
                // Where the channels are not whole vectors, the last vector overlaps the one before it and computes the
                // same values again.
                vectors::<V, P, 1, RELU, T>(args, rows, run, pixel, channel.min(args.channels - V::LANES));
                channel += V::LANES;
            }
        }
    }
}

/// Computes `C` vectors of channels of `P` pixels of a run. Each input of a row is loaded once for all pixels that see
/// it.
///
/// # Safety
/// As [`pixels_of`], and the channels exist.
#[inline(always)]
unsafe fn vectors<V: Lanes, const P: usize, const C: usize, const RELU: bool, const T: usize>(
    args: &mut Depthwise<'_>,
    rows: &[[Neighbour; T]],
    run: &Run,
    pixel: usize,
    channel: usize,
) {
    debug_assert!(pixel + P <= run.rows && channel + C * V::LANES <= args.channels);
    // SAFETY: `check` has found `channels` values of the run's pixels behind every neighbour, in the output, and in the bias
    // and each neighbour's weights; the caller has made sure of these pixels and channels. Input `i` of a row is neighbour `t`
    // of pixel `i - t`.
    unsafe {
        let at = pixel * args.x_step + channel;
        // Prefetch what the next pixels see. Where pixels share inputs, only the last row of the window has not been
        // read yet.
        let read = if T == 1 { 0 } else { rows.len().saturating_sub(1) };
        for row in &rows[read..] {
            for p in P..2 * P {
                fetch(args.x.as_ptr().wrapping_add(row[T - 1].input + at).wrapping_add(p.wrapping_mul(args.x_step)));
            }
        }
        let bias: [V; C] = std::array::from_fn(|c| V::load(args.bias.as_ptr().add(channel + c * V::LANES)));
        let mut sums = [bias; P];
        for row in rows {
            let weights: [[V; C]; T] = std::array::from_fn(|t| {
                let weights = args.weights.as_ptr().add(row[t].weight + channel);
                std::array::from_fn(|c| V::load(weights.add(c * V::LANES)))
            });
            let x = args.x.as_ptr().add(row[0].input + at);
            for i in 0..P + T - 1 {
                for c in 0..C {
                    let mut x = V::load(x.add(i * args.x_step + c * V::LANES));
                    if RELU {
                        x = x.at_least(V::splat(0.0));
                    }
                    for t in 0..T {
                        if (t..t + P).contains(&i) {
                            sums[i - t][c] = x.mul_add(weights[t][c], sums[i - t][c]);
                        }
                    }
                }
            }
        }
        let (low, high) = (V::splat(args.clamp.low), V::splat(args.clamp.high));
        for p in 0..P {
            let out = args.out.as_mut_ptr().add((run.first + pixel + p) * args.out_pitch + channel);
            for c in 0..C {
                sums[p][c].at_least(low).at_most(high).store(out.add(c * V::LANES));
            }
        }
    }
}
