//! Dense and grouped convolution on the CPU, as matrix products.
//!
//! What the windows of some outputs see is copied into the columns of a matrix (im2col), a part at a time that stays in
//! the cache: some rows of the map, and some of the terms that an output is the sum of; 1×1 convolutions need no copy.
//! Terms are in the order (row of the kernel, input plane, column of the kernel), so that those of a kernel's rows that
//! lie in the padding for a whole band, as those of atrous convolutions do, are left out. The gradients are products
//! with the same matrix. How work is divided depends on shapes and on the number of threads only, so results are the
//! same in every run.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::matrix::{Matrix, MatrixMut, multiply};
use super::simd::{Float, add_to};
use crate::graph::Window;

/// Values of the part of the matrix that is made at once: a share of a core's second-level cache, beside the operands
/// that `gemm` packs.
const PART: usize = 3 << 16;
/// Outputs that a band has at least, so that the kernel is not read too often.
const MIN_OUTPUTS: usize = 512;

/// A convolution of `images · groups` maps, each of `inputs` planes with a kernel `[outputs, inputs, kh, kw]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dense {
    pub(super) images: usize,
    pub(super) groups: usize,
    /// Input planes of a group.
    pub(super) inputs: usize,
    /// Output planes of a group.
    pub(super) outputs: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) v: Window,
    pub(super) h: Window,
}

impl Dense {
    fn area(&self) -> usize {
        self.rows * self.columns
    }

    /// Pixels of an output plane.
    fn output_area(&self) -> usize {
        self.v.output * self.h.output
    }

    /// Pixels of the kernel.
    fn kernel_area(&self) -> usize {
        self.v.kernel * self.h.kernel
    }

    /// What an output is computed from: the height of the matrix.
    fn terms(&self) -> usize {
        self.inputs * self.kernel_area()
    }

    /// Values of the kernel of one group.
    fn kernel_len(&self) -> usize {
        self.outputs * self.terms()
    }

    /// Whether the matrix is the input itself.
    fn is_pointwise(&self) -> bool {
        self.v.is_pointwise() && self.h.is_pointwise()
    }

    /// The bands of output rows: few enough rows for the cache, and enough bands for all threads.
    fn bands(&self) -> Vec<Range<usize>> {
        let row = self.h.output.max(1);
        let wanted = (PART / self.terms().max(1)).max(MIN_OUTPUTS).div_ceil(row);
        let most = match self.images * self.groups {
            maps if maps.is_multiple_of(rayon::current_num_threads()) => self.v.output,
            _ => self.v.output.div_ceil(rayon::current_num_threads()),
        };
        evenly(0..self.v.output, wanted.min(most))
    }

    /// The parts of a band's matrix that are not all padding, as ranges of lines. A line is a row of the kernel for one
    /// input plane, of which there are `channels`.
    fn parts(&self, band: &Range<usize>, channels: &Range<usize>) -> Vec<Range<usize>> {
        let sees = |ky: &usize| band.clone().any(|y| self.v.input(self.rows, y, *ky).is_some());
        let rows: Vec<usize> = (0..self.v.kernel).filter(sees).collect();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Vec::new() };
        let most = PART / (band.len() * self.h.output * self.h.kernel).max(1);
        let of = |ky: usize| ky * self.inputs + channels.start..ky * self.inputs + channels.end;
        if channels.len() == self.inputs {
            return evenly(of(*first).start..of(*last).end, most);
        }
        rows.iter().flat_map(|ky| evenly(of(*ky), most)).collect()
    }

    /// The part of a band's matrix, `[terms, outputs of the band]`.
    fn matrix<'a, T: Float>(
        &self,
        x: &'a [T],
        band: &Range<usize>,
        part: &Range<usize>,
        buffer: &'a mut Vec<T>,
    ) -> Matrix<'a, T> {
        let len = band.len() * self.h.output;
        if self.is_pointwise() {
            let first = part.start * self.area() + band.start * self.columns;
            return Matrix::new(&x[first..], part.len(), len, self.area());
        }
        let terms = part.len() * self.h.kernel;
        buffer.resize(terms * len, T::zero());
        let mut rows = buffer.chunks_mut(self.h.output);
        for (line, kx) in part.clone().flat_map(|line| (0..self.h.kernel).map(move |kx| (line, kx))) {
            let (ky, plane) = (line / self.inputs, &x[line % self.inputs * self.area()..][..self.area()]);
            let inside = self.h.inside(self.columns, kx);
            for (y, to) in band.clone().zip(&mut rows) {
                let Some(row) = self.v.input(self.rows, y, ky).filter(|_| !inside.is_empty()) else {
                    to.fill(T::zero());
                    continue;
                };
                let row = &plane[row * self.columns..][..self.columns];
                let first = inside.start * self.h.stride + kx * self.h.dilation - self.h.before;
                to[..inside.start].fill(T::zero());
                to[inside.end..].fill(T::zero());
                copy_strided(&mut to[inside.clone()], &row[first..], self.h.stride);
            }
        }
        Matrix::new(buffer, terms, len, len)
    }

    /// Adds a part of a band's matrix to the planes from `first` of the map that it is gathered from.
    fn scatter<T: Float>(&self, matrix: &[T], band: &Range<usize>, part: &Range<usize>, first: usize, x: &mut [T]) {
        let mut rows = matrix.chunks(self.h.output);
        for (line, kx) in part.clone().flat_map(|line| (0..self.h.kernel).map(move |kx| (line, kx))) {
            let (ky, plane) = (line / self.inputs, line % self.inputs - first);
            let plane = &mut x[plane * self.area()..][..self.area()];
            let inside = self.h.inside(self.columns, kx);
            for (y, values) in band.clone().zip(&mut rows) {
                let Some(row) = self.v.input(self.rows, y, ky).filter(|_| !inside.is_empty()) else { continue };
                let row = &mut plane[row * self.columns..][..self.columns];
                let first = inside.start * self.h.stride + kx * self.h.dilation - self.h.before;
                let (values, row) = (&values[inside.clone()], &mut row[first..]);
                match self.h.stride {
                    1 => add_to(&mut row[..values.len()], values),
                    stride => row.iter_mut().step_by(stride).zip(values).for_each(|(x, value)| *x += *value),
                }
            }
        }
    }

    /// Changes the order of a kernel `[outputs, inputs, kh, kw]` to that of the terms, `[outputs, kh, inputs, kw]`.
    fn in_order<'a, T: Float>(&self, kernel: &'a [T]) -> Cow<'a, [T]> {
        reordered(kernel, self.terms(), [self.inputs, self.v.kernel, self.h.kernel])
    }

    /// The columns of a group's kernel for a part of the terms.
    fn kernel_part<'a, T: Float>(&self, kernel: &'a [T], group: usize, part: &Range<usize>) -> Matrix<'a, T> {
        let kernel = &kernel[group * self.kernel_len() + part.start * self.h.kernel..];
        Matrix::new(kernel, self.outputs, part.len() * self.h.kernel, self.terms())
    }

    /// `y` from `x` and the kernel, as `[N, outputs, h, w]`.
    pub(super) fn forward<T: Float>(&self, x: &[T], kernel: &[T]) -> Vec<T> {
        let kernel = self.in_order(kernel);
        self.apply(x, |group, part| self.kernel_part(&kernel, group, part))
    }

    /// `y = kernel · matrix(x)` for all maps and bands, where `kernel` gives a group's columns for a part of the terms.
    fn apply<'a, T: Float>(&self, x: &[T], kernel: impl Fn(usize, &Range<usize>) -> Matrix<'a, T> + Sync) -> Vec<T> {
        let map = self.outputs * self.output_area();
        let mut y = vec![T::zero(); self.images * self.groups * map];
        if y.is_empty() {
            return y;
        }
        let bands = self.bands();
        let mut tasks = Vec::with_capacity(bands.len() * self.images * self.groups);
        for (i, y) in y.chunks_mut(map).enumerate() {
            let mut rest = MatrixMut::new(y, self.outputs, self.output_area());
            for band in &bands {
                let (out, others) = rest.split(band.len() * self.h.output);
                rest = others;
                tasks.push((i, band, out));
            }
        }
        tasks.into_par_iter().for_each_init(Vec::new, |buffer, (i, band, mut out)| {
            let x = &x[i * self.inputs * self.area()..][..self.inputs * self.area()];
            for (first, part) in self.parts(band, &(0..self.inputs)).iter().enumerate() {
                let matrix = self.matrix(x, band, part, buffer);
                multiply(&mut out, kernel(i % self.groups, part), matrix, first > 0);
            }
        });
        y
    }

    /// `∂x` from `∂y` and the kernel.
    pub(super) fn input_gradient<T: Float>(&self, dy: &[T], kernel: &[T]) -> Vec<T> {
        if self.is_pointwise() {
            let rows = |group: usize, part: &Range<usize>| {
                let kernel = &kernel[group * self.kernel_len() + part.start * self.inputs..];
                Matrix::new(kernel, part.len(), self.inputs, self.inputs).transposed()
            };
            return Self { inputs: self.outputs, outputs: self.inputs, ..*self }.apply(dy, rows);
        }
        match (self.mirrored(&self.v, self.rows), self.mirrored(&self.h, self.columns)) {
            (Some(v), Some(h)) => {
                let mirrored = Self {
                    inputs: self.outputs,
                    outputs: self.inputs,
                    rows: self.v.output,
                    columns: self.h.output,
                    v,
                    h,
                    ..*self
                };
                mirrored.forward(dy, &self.mirrored_kernel(kernel))
            }
            _ => self.scattered_gradient(dy, kernel),
        }
    }

    /// The windows over `∂y` whose convolution with the mirrored kernel is `∂x`; `None` where there are strides, or
    /// more padding than a window reaches.
    fn mirrored(&self, window: &Window, len: usize) -> Option<Window> {
        let before = (window.dilation * (window.kernel - 1)).checked_sub(window.before)?;
        // What is added after the last row does not matter: it is outside in any case.
        (window.stride == 1).then_some(Window { before, after: before, output: len, ..*window })
    }

    /// The kernel with its pixels in reverse order and its inputs and outputs exchanged.
    fn mirrored_kernel<T: Float>(&self, kernel: &[T]) -> Vec<T> {
        let (area, terms) = (self.kernel_area(), self.terms());
        let mut mirrored = Vec::with_capacity(kernel.len());
        for kernel in kernel.chunks(self.kernel_len()) {
            for input in 0..self.inputs {
                for output in 0..self.outputs {
                    let pixels = &kernel[output * terms + input * area..][..area];
                    mirrored.extend(pixels.iter().rev());
                }
            }
        }
        mirrored
    }

    /// `∂x` by scattering `kernelᵀ · ∂y`, some input planes at a time.
    fn scattered_gradient<T: Float>(&self, dy: &[T], kernel: &[T]) -> Vec<T> {
        let mut dx = vec![T::zero(); self.images * self.groups * self.inputs * self.area()];
        if dx.is_empty() || dy.is_empty() {
            return dx;
        }
        let (bands, kernel) = (self.bands(), self.in_order(kernel));
        // Enough shares for all threads, but no more, since each reads the whole of ∂y.
        let maps = self.images * self.groups;
        let threads = rayon::current_num_threads();
        let shares = if maps.is_multiple_of(threads) { 1 } else { threads };
        let planes = self.inputs.div_ceil(shares);
        let mut tasks = Vec::new();
        for (i, dx) in dx.chunks_mut(self.inputs * self.area()).enumerate() {
            tasks.extend(dx.chunks_mut(planes * self.area()).enumerate().map(|(share, dx)| (i, share * planes, dx)));
        }
        tasks.into_par_iter().for_each_init(Vec::new, |buffer, (i, first, dx)| {
            let channels = first..first + dx.len() / self.area();
            let dy = &dy[i * self.outputs * self.output_area()..][..self.outputs * self.output_area()];
            for band in &bands {
                let len = band.len() * self.h.output;
                let dy = Matrix::new(&dy[band.start * self.h.output..], self.outputs, len, self.output_area());
                for part in self.parts(band, &channels) {
                    let terms = part.len() * self.h.kernel;
                    buffer.resize(terms * len, T::zero());
                    let kernel = self.kernel_part(&kernel, i % self.groups, &part);
                    multiply(&mut MatrixMut::new(buffer, terms, len), kernel.transposed(), dy, false);
                    self.scatter(&buffer[..terms * len], band, &part, first, dx);
                }
            }
        });
        dx
    }

    /// `∂kernel` from `x` and `∂y`: each thread adds up its share of the bands, and the shares are added up in order.
    pub(super) fn kernel_gradient<T: Float>(&self, x: &[T], dy: &[T]) -> Vec<T> {
        let bands = self.bands();
        let len = self.kernel_len();
        let tasks: Vec<_> = (0..self.groups)
            .map(|group| {
                let maps = (0..self.images).map(move |image| image * self.groups + group);
                maps.flat_map(|i| bands.iter().map(move |band| (i, band))).collect::<Vec<_>>()
            })
            .collect();
        let shares = if self.groups > 1 { 1 } else { rayon::current_num_threads() };
        let gradients: Vec<Vec<T>> = tasks
            .par_iter()
            .flat_map(|tasks| tasks.par_chunks(tasks.len().div_ceil(shares).max(1)))
            .map_init(Vec::new, |buffer, tasks| {
                let mut gradient = vec![T::zero(); len];
                for (i, band) in tasks {
                    let x = &x[i * self.inputs * self.area()..][..self.inputs * self.area()];
                    let dy = &dy[i * self.outputs * self.output_area() + band.start * self.h.output..];
                    let dy = Matrix::new(dy, self.outputs, band.len() * self.h.output, self.output_area());
                    for part in self.parts(band, &(0..self.inputs)) {
                        let out = MatrixMut::new(&mut gradient, self.outputs, self.terms());
                        let (_, rest) = out.split(part.start * self.h.kernel);
                        let (mut out, _) = rest.split(part.len() * self.h.kernel);
                        multiply(&mut out, dy, self.matrix(x, band, &part, buffer).transposed(), true);
                    }
                }
                gradient
            })
            .collect();
        let sum = if self.groups > 1 {
            gradients.concat()
        } else {
            let mut gradients = gradients.into_iter();
            let mut sum = gradients.next().unwrap_or_else(|| vec![T::zero(); len]);
            gradients.for_each(|gradient| add_to(&mut sum, &gradient));
            sum
        };
        reordered(&sum, self.terms(), [self.v.kernel, self.inputs, self.h.kernel]).into_owned()
    }
}

/// Cuts a range into parts of about the same length, of which none is longer than `most`, or than one.
fn evenly(range: Range<usize>, most: usize) -> Vec<Range<usize>> {
    let count = range.len().div_ceil(most.max(1)).max(1);
    let len = range.len().div_ceil(count).max(1);
    range.clone().step_by(len).map(|first| first..(first + len).min(range.end)).collect()
}

/// Exchanges the first two of three axes in each `len` values.
fn reordered<T: Float>(values: &[T], len: usize, [first, second, third]: [usize; 3]) -> Cow<'_, [T]> {
    if first == 1 || second == 1 || len == 0 {
        return Cow::Borrowed(values);
    }
    let mut out = vec![T::zero(); values.len()];
    out.par_chunks_mut(len).zip(values.par_chunks(len)).for_each(|(out, values)| {
        for (i, out) in out.chunks_mut(third).enumerate() {
            out.copy_from_slice(&values[(i % first * second + i / first) * third..][..third]);
        }
    });
    Cow::Owned(out)
}

/// `to ← x[0], x[stride], x[2 · stride], …`
fn copy_strided<T: Float>(to: &mut [T], x: &[T], stride: usize) {
    match stride {
        1 => to.copy_from_slice(&x[..to.len()]),
        2 => {
            let pairs = x.as_chunks::<2>().0;
            to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
            // The last one may have no neighbour.
            if let (Some(last), true) = (to.len().checked_sub(1), to.len() > pairs.len()) {
                to[last] = x[2 * last];
            }
        }
        _ => to.iter_mut().zip(x.iter().step_by(stride)).for_each(|(to, x)| *to = *x),
    }
}
