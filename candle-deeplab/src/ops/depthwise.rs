//! Depthwise convolution on the CPU, by direct kernels. Candle convolves each channel in a separate call, a hundred
//! times slower than memory allows.
//!
//! A plane is copied into rows with zeros around them, split by column into as many phases as the stride, so that what
//! neighbouring outputs multiply by one pixel of the kernel lies side by side. Every loop is then over a few rows.

use rayon::prelude::*;

use super::padded::Padded;
use super::simd::{Float, LANES, vectorised};
use super::slices::by_channel;
use crate::graph::Window;

/// A depthwise convolution of `[N, channels, rows, columns]` with a kernel `[channels, 1, kh, kw]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depthwise {
    pub(super) channels: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) v: Window,
    pub(super) h: Window,
}

/// For each row of a result, the rows that it is computed from: the place of each among padded values, and the pixel of
/// the kernel that it is multiplied by. All planes share it.
struct Sources {
    all: Vec<(usize, usize)>,
    ends: Vec<usize>,
}

impl Sources {
    fn new() -> Self {
        Self { all: Vec::new(), ends: Vec::new() }
    }

    fn add(&mut self, place: usize, pixel: usize) {
        self.all.push((place, pixel));
    }

    fn end_row(&mut self) {
        self.ends.push(self.all.len());
    }

    fn of(&self, row: usize) -> &[(usize, usize)] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[start..self.ends[row]]
    }
}

impl Depthwise {
    fn area(&self) -> usize {
        self.rows * self.columns
    }

    fn output_area(&self) -> usize {
        self.v.output * self.h.output
    }

    fn kernel_area(&self) -> usize {
        self.v.kernel * self.h.kernel
    }

    fn padded_input<T: Float>(&self) -> Padded<T> {
        Padded::new(self.rows, self.columns, self.h.before, self.h.stride, self.h.reach(), T::zero())
    }

    fn padded_gradient<T: Float>(&self) -> Padded<T> {
        let (stride, reach) = (self.h.stride, self.h.dilation * (self.h.kernel - 1));
        let before = reach.saturating_sub(self.h.before).div_ceil(stride);
        let last = self.columns.div_ceil(stride) + (stride + self.h.before).div_ceil(stride);
        Padded::new(self.v.output, self.h.output, before, 1, before + last, T::zero())
    }

    /// What the windows of each output row see.
    fn seen<T: Float>(&self, x: &Padded<T>) -> Sources {
        let mut sources = Sources::new();
        for oy in 0..self.v.output {
            for ky in 0..self.v.kernel {
                let Some(row) = self.v.input(self.rows, oy, ky) else { continue };
                for kx in 0..self.h.kernel {
                    let column = x.before() - self.h.before + kx * self.h.dilation;
                    sources.add(x.place(row, column), ky * self.h.kernel + kx);
                }
            }
            sources.end_row();
        }
        sources
    }

    /// The windows that see the columns `phase`, `phase + stride`, … of input row `iy`, as row `iy · stride + phase`.
    fn seeing<T: Float>(&self, dy: &Padded<T>) -> Sources {
        let (stride, mut sources) = (self.h.stride, Sources::new());
        for (iy, phase) in (0..self.rows).flat_map(|iy| (0..stride).map(move |phase| (iy, phase))) {
            for ky in 0..self.v.kernel {
                let Some(below) = (iy + self.v.before).checked_sub(ky * self.v.dilation) else { continue };
                if below % self.v.stride != 0 || below / self.v.stride >= self.v.output {
                    continue;
                }
                for kx in 0..self.h.kernel {
                    // The first column's window begins so many columns after the first window; multiples of the stride
                    // are added so that the number is not negative.
                    let shift = dy.before() * stride + phase + self.h.before;
                    let Some(right) = shift.checked_sub(kx * self.h.dilation) else { continue };
                    if right % stride == 0 {
                        sources.add(dy.place(below / self.v.stride, right / stride), ky * self.h.kernel + kx);
                    }
                }
            }
            sources.end_row();
        }
        sources
    }

    fn kernel_of<'a, T>(&self, kernel: &'a [T], plane: usize) -> &'a [T] {
        &kernel[plane % self.channels * self.kernel_area()..][..self.kernel_area()]
    }

    /// `y` from `x` and the kernel.
    pub(super) fn forward<T: Float>(&self, x: &[T], kernel: &[T]) -> Vec<T> {
        let planes = x.len() / self.area().max(1);
        let mut y = vec![T::zero(); planes * self.output_area()];
        let planes = y.par_chunks_mut(self.output_area().max(1)).zip(x.par_chunks(self.area().max(1))).enumerate();
        let seen = self.seen(&self.padded_input::<T>());
        planes.for_each_init(
            || self.padded_input(),
            |padded, (plane, (y, x))| {
                padded.fill(x);
                output_plane(self, padded, self.kernel_of(kernel, plane), &seen, y);
            },
        );
        y
    }

    /// `∂x`, if it is wanted, and `∂kernel` from `x`, the kernel and `∂y`.
    pub(super) fn backward<T: Float>(&self, x: &[T], kernel: &[T], dy: &[T], input: bool) -> (Option<Vec<T>>, Vec<T>) {
        let (area, output_area, channels) = (self.area().max(1), self.output_area().max(1), self.channels);
        let mut dx = vec![T::zero(); if input { x.len() } else { 0 }];
        let mut dk = vec![T::zero(); channels * self.kernel_area()];
        let images = x.len() / (area * channels).max(1);
        let mut dx_planes = by_channel(&mut dx, channels, area);
        let tasks = dk.par_chunks_mut(self.kernel_area().max(1)).zip(&mut dx_planes).enumerate();
        let buffers = || {
            let (sums, row) = (vec![[T::zero(); LANES]; self.kernel_area()], vec![T::zero(); self.columns]);
            (self.padded_input(), self.padded_gradient(), sums, row)
        };
        let (seen, seeing) = (self.seen(&self.padded_input::<T>()), self.seeing(&self.padded_gradient::<T>()));
        tasks.for_each_init(buffers, |(padded, gradient, sums, row), (channel, (dk, dx))| {
            let mut total = vec![0f64; dk.len()];
            for image in 0..images {
                let plane = image * channels + channel;
                padded.fill(&x[plane * area..][..area]);
                gradient.fill(&dy[plane * output_area..][..output_area]);
                sums.fill([T::zero(); LANES]);
                kernel_sums(self, padded, gradient, &seen, sums);
                for (total, sums) in total.iter_mut().zip(&*sums) {
                    *total += sums.iter().map(|sum| sum.wide()).sum::<f64>();
                }
                if let Some(dx) = dx.get_mut(image) {
                    input_plane(self, gradient, self.kernel_of(kernel, channel), &seeing, row, dx);
                }
            }
            dk.iter_mut().zip(total).for_each(|(dk, total)| *dk = T::of(total));
        });
        (input.then_some(dx), dk)
    }
}

vectorised! {
    /// The output for one plane.
    fn output_plane<T>(op: &Depthwise, x: &Padded<T>, kernel: &[T], sources: &Sources, y: &mut [T]) -> () {
        for (oy, y) in y.chunks_mut(op.h.output).enumerate() {
            scaled_sum::<T, FUSED>(y, x.values(), sources.of(oy), kernel);
        }
    }

    /// `∂x` for one plane, with a buffer for the phases of a row.
    fn input_plane<T>(
        op: &Depthwise, dy: &Padded<T>, kernel: &[T], sources: &Sources, buffer: &mut [T], dx: &mut [T],
    ) -> () {
        let stride = op.h.stride;
        for (iy, dx) in dx.chunks_mut(op.columns).enumerate() {
            if stride == 1 {
                scaled_sum::<T, FUSED>(dx, dy.values(), sources.of(iy), kernel);
                continue;
            }
            let mut rest = &mut *buffer;
            for phase in 0..stride.min(op.columns) {
                let (row, others) = rest.split_at_mut((op.columns - phase).div_ceil(stride));
                rest = others;
                scaled_sum::<T, FUSED>(row, dy.values(), sources.of(iy * stride + phase), kernel);
            }
            interleave(dx, buffer, stride);
        }
    }

    /// Adds the products of `∂y` and what the windows see to the sums of the kernel's pixels.
    fn kernel_sums<T>(
        op: &Depthwise, x: &Padded<T>, dy: &Padded<T>, sources: &Sources, sums: &mut [[T; LANES]],
    ) -> () {
        for oy in 0..op.v.output {
            // Beyond its last column, a row of ∂y is zero.
            let dy = &dy.values()[dy.place(oy, dy.before())..][..op.h.output.next_multiple_of(LANES)];
            products::<T, FUSED>(dy, x.values(), sources.of(oy), sums);
        }
    }
}

/// Evaluates an expression with the number of rows as a constant, where it is one of the usual ones.
macro_rules! with_count {
    ($count:expr, |$N:ident| $call:expr, $otherwise:expr, [$($value:literal)*]) => {
        match $count {
            $($value => {
                const $N: usize = $value;
                $call
            })*
            _ => $otherwise,
        }
    };
}

/// `out ← Σ kernel[pixel] · row` over the rows that are seen.
#[inline(always)]
fn scaled_sum<T: Float, const FUSED: bool>(out: &mut [T], values: &[T], seen: &[(usize, usize)], kernel: &[T]) {
    let len = out.len().next_multiple_of(LANES);
    assert!(seen.iter().all(|(at, _)| at + len <= values.len()), "rows beyond their values");
    // SAFETY: whole vectors of every row lie within the values.
    unsafe {
        with_count!(
            seen.len(),
            |N| scaled_sum_of::<T, N, FUSED>(out, values, seen, kernel),
            any_scaled_sum::<T, FUSED>(out, values, seen, kernel),
            [1 2 4 6 9]
        );
    }
}

/// # Safety
/// `N` rows are seen, of which whole vectors lie within the values.
#[inline(always)]
unsafe fn scaled_sum_of<T: Float, const N: usize, const FUSED: bool>(
    out: &mut [T],
    values: &[T],
    seen: &[(usize, usize)],
    kernel: &[T],
) {
    let rows: [*const T; N] = std::array::from_fn(|n| values[seen[n].0..].as_ptr());
    let factors: [T; N] = std::array::from_fn(|n| kernel[seen[n].1]);
    let mut at = 0;
    while at < out.len() {
        let mut sums = [T::zero(); LANES];
        for n in 0..N {
            // SAFETY: the caller's promise.
            let x = unsafe { rows[n].add(at).cast::<[T; LANES]>().read_unaligned() };
            for i in 0..LANES {
                sums[i] = x[i].times_plus::<FUSED>(factors[n], sums[i]);
            }
        }
        put(out, at, sums);
        at += LANES;
    }
}

/// # Safety
/// Whole vectors of the rows lie within the values.
#[inline(always)]
unsafe fn any_scaled_sum<T: Float, const FUSED: bool>(
    out: &mut [T],
    values: &[T],
    seen: &[(usize, usize)],
    kernel: &[T],
) {
    let mut at = 0;
    while at < out.len() {
        let mut sums = [T::zero(); LANES];
        for (row, pixel) in seen {
            // SAFETY: the caller's promise.
            let x = unsafe { values.as_ptr().add(row + at).cast::<[T; LANES]>().read_unaligned() };
            for i in 0..LANES {
                sums[i] = x[i].times_plus::<FUSED>(kernel[*pixel], sums[i]);
            }
        }
        put(out, at, sums);
        at += LANES;
    }
}

/// Writes a vector, or as much of it as the row has.
#[inline(always)]
fn put<T: Float>(out: &mut [T], at: usize, sums: [T; LANES]) {
    match out[at..].first_chunk_mut::<LANES>() {
        Some(out) => *out = sums,
        None => out[at..].iter_mut().zip(sums).for_each(|(out, sum)| *out = sum),
    }
}

/// Adds the products of `∂y` and each row to the sums of the row's pixel.
#[inline(always)]
fn products<T: Float, const FUSED: bool>(dy: &[T], values: &[T], seen: &[(usize, usize)], sums: &mut [[T; LANES]]) {
    assert!(
        dy.len().is_multiple_of(LANES) && seen.iter().all(|(at, _)| at + dy.len() <= values.len()),
        "rows beyond values"
    );
    // SAFETY: whole vectors of every row lie within the values.
    unsafe {
        with_count!(
            seen.len(),
            |N| products_of::<T, N, FUSED>(dy, values, seen, sums),
            seen.iter().for_each(|seen| products_of::<T, 1, FUSED>(dy, values, std::slice::from_ref(seen), sums)),
            [6 9]
        );
    }
}

/// # Safety
/// `N` rows are seen, as long as `dy` at least, which is whole vectors.
#[inline(always)]
unsafe fn products_of<T: Float, const N: usize, const FUSED: bool>(
    dy: &[T],
    values: &[T],
    seen: &[(usize, usize)],
    sums: &mut [[T; LANES]],
) {
    let rows: [*const T; N] = std::array::from_fn(|n| values[seen[n].0..].as_ptr());
    let mut totals: [[T; LANES]; N] = std::array::from_fn(|n| sums[seen[n].1]);
    for (chunk, dy) in dy.as_chunks::<LANES>().0.iter().enumerate() {
        for n in 0..N {
            // SAFETY: the caller's promise.
            let x = unsafe { rows[n].add(chunk * LANES).cast::<[T; LANES]>().read_unaligned() };
            for i in 0..LANES {
                totals[n][i] = x[i].times_plus::<FUSED>(dy[i], totals[n][i]);
            }
        }
    }
    for n in 0..N {
        sums[seen[n].1] = totals[n];
    }
}

/// Puts the phases of a row, which lie one after the other, in their places.
#[inline(always)]
fn interleave<T: Float>(row: &mut [T], phases: &[T], stride: usize) {
    if stride == 2 {
        let (even, odd) = phases[..row.len()].split_at(row.len().div_ceil(2));
        let (pairs, last) = row.as_chunks_mut::<2>();
        pairs.iter_mut().zip(even.iter().zip(odd)).for_each(|(pair, (even, odd))| *pair = [*even, *odd]);
        if let [last] = last {
            *last = even[even.len() - 1];
        }
        return;
    }
    let mut rest = phases;
    for phase in 0..stride.min(row.len()) {
        let (values, others) = rest.split_at((row.len() - phase).div_ceil(stride));
        rest = others;
        row.iter_mut().skip(phase).step_by(stride).zip(values).for_each(|(to, value)| *to = *value);
    }
}
