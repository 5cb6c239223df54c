//! Bilinear upsampling of logits from the network's resolution to that of its input or of an image: either only the
//! winning class at each pixel, or the logits of some rows at a time.
//!
//! A 12-megapixel photograph has 1 GB of logits for 21 classes, so the resized logits are never stored as a whole: the
//! rows of the label map are computed independently, in parallel. Between four neighbouring logits, a bilinear value is
//! a weighted mean of these corners. If one class is the greatest at all four corners, it is the greatest everywhere
//! between them, to rounding, and nothing needs to be computed. This holds for most of an image, except at the
//! outlines.

use std::ops::Range;

use rayon::prelude::*;

use crate::graph::{Axis, Lerp, Size};

/// A view of a network's logits `[classes, height, width]` in a slice; the values of a row are contiguous.
pub(crate) struct Logits<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) classes: usize,
    pub(crate) size: Size,
    /// Floats from one class to the next.
    pub(crate) class_stride: usize,
    /// Floats from one row to the next.
    pub(crate) row_stride: usize,
}

/// The class with the greatest logit at each pixel of an image of the size `to`, row by row; the two images' edges
/// coincide. The first of equals wins; NaN never does.
pub(crate) fn label_map(logits: &Logits, to: Size) -> Vec<u8> {
    let mut ids = vec![0; to.area()];
    winners(logits, &half_pixel(logits, to), &mut ids);
    ids
}

/// As [`label_map`], at the positions of the axes: `ids` is `rows` × `columns`.
pub(crate) fn winners(logits: &Logits, (rows, columns): &(Axis, Axis), ids: &mut [u8]) {
    let Size { height, width } = logits.size;
    if (rows.0.len(), columns.0.len()) == (height, width) {
        return argmax(logits, ids);
    }
    let mut corners = vec![0; height * width];
    argmax(logits, &mut corners);
    ids.par_chunks_exact_mut(columns.0.len()).zip(&rows.0).for_each_init(
        || Blend::new(logits),
        |blend, (ids, row)| {
            blend.start(*row);
            let corner_row = |y: usize| &corners[y * width..][..width];
            let (above, below) = (corner_row(row.near), corner_row(row.far));
            for (id, column) in ids.iter_mut().zip(&columns.0) {
                let Lerp { near, far, .. } = *column;
                let first = above[near];
                let unanimous = above[far] == first && below[near] == first && below[far] == first;
                *id = if unanimous { first } else { blend.winner(*column) };
            }
        },
    );
}

/// The logits of some rows of an image of the size `to`: `[rows, width, classes]`.
pub(crate) fn rows(logits: &Logits, to: Size, wanted: Range<usize>) -> Vec<f32> {
    let (rows, columns) = half_pixel(logits, to);
    let mut values = vec![0.0; wanted.len() * to.width * logits.classes];
    values.par_chunks_exact_mut(to.width * logits.classes).zip(&rows.0[wanted]).for_each_init(
        || Blend::new(logits),
        |blend, (values, row)| {
            blend.start(*row);
            for (values, column) in values.chunks_exact_mut(logits.classes).zip(&columns.0) {
                blend.pixel(*column, values);
            }
        },
    );
    values
}

fn half_pixel(logits: &Logits, to: Size) -> (Axis, Axis) {
    let axis = |from, to| Axis::new(from, to, false);
    (axis(logits.size.height, to.height), axis(logits.size.width, to.width))
}

/// Writes the class with the greatest logit at each of the logits' own pixels.
fn argmax(logits: &Logits, ids: &mut [u8]) {
    let Size { width, .. } = logits.size;
    ids.fill(0);
    ids.par_chunks_exact_mut(width).enumerate().for_each_init(
        || vec![0.0; width],
        |best, (y, ids)| {
            best.fill(f32::NEG_INFINITY);
            for class in 0..logits.classes {
                let row = &logits.data[class * logits.class_stride + y * logits.row_stride..][..width];
                for ((id, best), &logit) in ids.iter_mut().zip(best.iter_mut()).zip(row) {
                    if logit > *best {
                        (*id, *best) = (class as u8, logit);
                    }
                }
            }
        },
    );
}

/// The logits along one row of the image. Columns are interpolated when they are first needed; the classes of a column
/// are contiguous.
struct Blend<'a> {
    logits: &'a Logits<'a>,
    row: Lerp,
    /// `[width, classes]`
    columns: Vec<f32>,
    ready: Vec<bool>,
}

impl<'a> Blend<'a> {
    fn new(logits: &'a Logits<'a>) -> Self {
        let width = logits.size.width;
        let row = Lerp { near: 0, far: 0, weight: 0.0 };
        Self { logits, row, columns: vec![0.0; width * logits.classes], ready: vec![false; width] }
    }

    fn start(&mut self, row: Lerp) {
        self.row = row;
        self.ready.fill(false);
    }

    fn winner(&mut self, column: Lerp) -> u8 {
        self.prepare(column.near);
        self.prepare(column.far);
        let (near, far) = (self.column(column.near), self.column(column.far));
        let (mut winner, mut best) = (0, f32::NEG_INFINITY);
        for (class, (&near, &far)) in near.iter().zip(far).enumerate() {
            let logit = column.blend(near, far);
            if logit > best {
                (winner, best) = (class as u8, logit);
            }
        }
        winner
    }

    /// All logits of a pixel.
    fn pixel(&mut self, column: Lerp, values: &mut [f32]) {
        self.prepare(column.near);
        self.prepare(column.far);
        let (near, far) = (self.column(column.near), self.column(column.far));
        for (value, (&near, &far)) in values.iter_mut().zip(near.iter().zip(far)) {
            *value = column.blend(near, far);
        }
    }

    fn column(&self, x: usize) -> &[f32] {
        &self.columns[x * self.logits.classes..][..self.logits.classes]
    }

    fn prepare(&mut self, x: usize) {
        if std::mem::replace(&mut self.ready[x], true) {
            return;
        }
        let Logits { data, classes, class_stride, row_stride, .. } = *self.logits;
        for (class, value) in self.columns[x * classes..][..classes].iter_mut().enumerate() {
            let column = &data[class * class_stride + x..];
            *value = self.row.blend(column[self.row.near * row_stride], column[self.row.far * row_stride]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random numbers, the same in every run.
    fn noise(count: usize) -> Vec<f32> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn dense(data: &[f32], classes: usize, height: usize, width: usize) -> Logits<'_> {
        Logits { data, classes, size: Size { height, width }, class_stride: height * width, row_stride: width }
    }

    /// Every logit of every pixel, from the definition, in double precision: `[pixel][class]`.
    fn resized(logits: &Logits, to: Size) -> Vec<Vec<f64>> {
        let weights = |from: usize, to: usize, i: usize| {
            let position = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
            (0..from).map(move |j| (1.0 - (position - j as f64).abs()).max(0.0)).enumerate().filter(|(_, w)| *w > 0.0)
        };
        let value = |class: usize, y: usize, x: usize| -> f64 {
            let across = |j: usize, wy: f64| {
                weights(logits.size.width, to.width, x)
                    .map(move |(i, wx)| {
                        let at = class * logits.class_stride + j * logits.row_stride + i;
                        wy * wx * f64::from(logits.data[at])
                    })
                    .sum::<f64>()
            };
            weights(logits.size.height, to.height, y).map(|(j, wy)| across(j, wy)).sum()
        };
        let pixel = |i: usize| (0..logits.classes).map(|c| value(c, i / to.width, i % to.width)).collect();
        (0..to.area()).map(pixel).collect()
    }

    /// Compares with resizing every logit; where two classes are equal to rounding, either may win.
    fn check(logits: &Logits, to: Size) {
        let reference = resized(logits, to);
        for (i, (&id, values)) in label_map(logits, to).iter().zip(&reference).enumerate() {
            let best = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let chosen = values[usize::from(id)];
            assert!(best - chosen <= 1e-6, "pixel {i} of {to:?}: class {id} has {chosen}, the best {best}");
        }
    }

    #[test]
    fn the_label_map_is_that_of_resized_logits() {
        for (classes, height, width) in [(3, 7, 5), (21, 13, 17), (1, 4, 4), (150, 5, 9)] {
            let data = noise(classes * height * width);
            let logits = dense(&data, classes, height, width);
            for (h, w) in [(29, 31), (1, 1), (3, 40), (height, width), (2 * height, width), (6, 4)] {
                check(&logits, Size { height: h, width: w });
            }
        }
    }

    /// Smooth logits have large areas of one class, where the corners decide.
    #[test]
    fn areas_of_one_class_and_their_outlines_are_right() {
        let (classes, height, width) = (5, 12, 16);
        let data: Vec<f32> = (0..classes * height * width)
            .map(|i| {
                let (class, y, x) = (i / (height * width), i / width % height, i % width);
                let (dy, dx) = (y as f32 - 3.0 * class as f32, x as f32 - 4.0 * class as f32);
                -(dy * dy + dx * dx).sqrt()
            })
            .collect();
        check(&dense(&data, classes, height, width), Size { height: 97, width: 131 });
    }

    #[test]
    fn logits_are_read_through_their_strides() {
        // Three classes of 4×5, cut out of 6×8.
        let data = noise(3 * 6 * 8);
        let cut = Logits { size: Size { height: 4, width: 5 }, ..dense(&data, 3, 6, 8) };
        let copy: Vec<f32> = (0..3 * 4 * 5).map(|i| data[i / 20 * 48 + i / 5 % 4 * 8 + i % 5]).collect();
        for to in [Size { height: 4, width: 5 }, Size { height: 11, width: 13 }] {
            assert_eq!(label_map(&cut, to), label_map(&dense(&copy, 3, 4, 5), to));
        }
    }

    #[test]
    fn the_same_size_is_a_plain_argmax_and_the_first_maximum_wins() {
        let data = [1.0, 5.0, 2.0, /* class 1 */ 1.0, 5.0, 3.0, /* class 2 */ 0.0, 5.0, 3.0];
        assert_eq!(label_map(&dense(&data, 3, 1, 3), Size { height: 1, width: 3 }), [0, 0, 1]);
    }

    #[test]
    fn the_first_maximum_wins_between_pixels_too() {
        let data = [0.0, 4.0, /* class 1 */ 0.0, 4.0, /* class 2 */ 4.0, 0.0];
        assert_eq!(label_map(&dense(&data, 3, 1, 2), Size { height: 1, width: 4 }), [2, 2, 0, 0]);
    }

    /// Halfway between two pixels a class can win that wins at neither.
    #[test]
    fn a_class_may_win_only_between_pixels() {
        let data = [4.0, 0.0, /* class 1 */ 0.0, 4.0, /* class 2 */ 3.0, 3.0];
        assert_eq!(label_map(&dense(&data, 3, 1, 2), Size { height: 1, width: 6 }), [0, 0, 2, 2, 1, 1]);
    }

    #[test]
    fn nan_and_infinities_do_no_harm() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let data = [nan, nan, 1.0, -inf, /* class 1 */ nan, 2.0, inf, -inf];
        let logits = dense(&data, 2, 1, 4);
        assert_eq!(label_map(&logits, Size { height: 1, width: 4 }), [0, 1, 1, 0]);
        assert_eq!(label_map(&logits, Size { height: 9, width: 23 }).len(), 9 * 23);
    }

    #[test]
    fn all_256_classes_fit() {
        let data: Vec<f32> = (0..256).map(|class| class as f32).collect();
        assert_eq!(label_map(&dense(&data, 256, 1, 1), Size { height: 2, width: 2 }), [255; 4]);
    }
}
