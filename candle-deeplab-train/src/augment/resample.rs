//! Scales and crops in one: only the crop's pixels are computed.

use candle_deeplab::graph::Size;
use image::{GrayImage, RgbImage};
use rand::Rng;

/// The part of a scaled image that a sample shows.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) rows: Axis,
    pub(super) columns: Axis,
}

/// Rows or columns of a window: for each, its place in the scaled image.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// The image's length.
    length: usize,
    /// The length of the scaled image.
    scaled: usize,
    /// The first place, and how many follow.
    first: usize,
    count: usize,
    is_reversed: bool,
}

/// The pixels that make one pixel of the window, with their weights.
#[derive(Debug, Clone, Default)]
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

impl Axis {
    /// Draws where the crop begins in the scaled image; at its beginning where it is smaller than the crop.
    pub(super) fn draw(length: usize, scaled: usize, crop: usize, random: &mut impl Rng) -> Self {
        Self::at(length, scaled, random.random_range(0..=scaled.saturating_sub(crop)), crop.min(scaled))
    }

    /// A part of the scaled image.
    pub(super) fn at(length: usize, scaled: usize, first: usize, count: usize) -> Self {
        Self { length, scaled, first, count, is_reversed: false }
    }

    pub(super) fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
    }

    /// The centre of each of the window's pixels in the image, as in all resizes whose corners are not aligned.
    fn centers(&self) -> impl Iterator<Item = f64> + '_ {
        let ratio = self.length as f64 / self.scaled as f64;
        (0..self.count).map(move |at| {
            let at = if self.is_reversed { self.count - 1 - at } else { at };
            ((self.first + at) as f64 + 0.5) * ratio
        })
    }

    /// The nearest pixel of each of the window's.
    fn nearest(&self) -> Vec<usize> {
        self.centers().map(|center| (center as usize).min(self.length - 1)).collect()
    }

    /// The taps of a triangle filter, which is widened when scaling down: those of the `image` crate and of Pillow, and
    /// so those of this project's preprocessing. Scaling up, it is bilinear interpolation.
    fn taps(&self) -> Vec<Taps> {
        let support = (self.length as f64 / self.scaled as f64).max(1.0);
        let taps = |center: f64| {
            let first = (center - support).floor().max(0.0) as usize;
            let end = ((center + support).ceil() as usize).clamp(first + 1, self.length);
            let weight = |at: usize| (1.0 - ((at as f64 + 0.5 - center) / support).abs()).max(0.0);
            let weights: Vec<f64> = (first..end).map(weight).collect();
            let skipped = weights.iter().take_while(|weight| **weight == 0.0).count().min(weights.len() - 1);
            let used = weights.len() - weights.iter().rev().take_while(|weight| **weight == 0.0).count();
            let weights = &weights[skipped..used.max(skipped + 1)];
            let sum: f64 = weights.iter().sum();
            let weights = weights.iter().map(|weight| (weight / sum) as f32).collect();
            Taps { first: first + skipped, weights }
        };
        self.centers().map(taps).collect()
    }
}

impl Window {
    /// Rows and columns.
    pub(super) fn size(&self) -> Size {
        Size::new(self.rows.count, self.columns.count)
    }

    /// Writes the window of an image into the upper left corner of `to`, with a triangle filter.
    pub(super) fn image(&self, from: &RgbImage, to: &mut RgbImage) {
        let (rows, columns) = (self.rows.taps(), self.columns.taps());
        let start = columns.iter().map(|taps| taps.first).min().unwrap_or(0);
        let end = columns.iter().map(|taps| taps.first + taps.weights.len()).max().unwrap_or(0);
        let (width, to_width) = (3 * from.width() as usize, 3 * to.width() as usize);
        let source = from.as_raw();
        // A row of the image, scaled in height; then it is scaled in width.
        let mut row = vec![0f32; 3 * (end - start)];
        for (taps, to) in rows.iter().zip(to.chunks_exact_mut(to_width)) {
            row.fill(0.0);
            for (y, weight) in (taps.first..).zip(&taps.weights) {
                let line = &source[y * width..][3 * start..3 * end];
                row.iter_mut().zip(line).for_each(|(sum, value)| *sum += weight * f32::from(*value));
            }
            for (taps, pixel) in columns.iter().zip(to.as_chunks_mut::<3>().0) {
                let used = &row[3 * (taps.first - start)..][..3 * taps.weights.len()];
                let mut sum = [0.5f32; 3];
                for (values, weight) in used.as_chunks::<3>().0.iter().zip(&taps.weights) {
                    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
                }
                // The cast saturates.
                *pixel = sum.map(|value| value as u8);
            }
        }
    }

    /// Writes the window of a label map into the upper left corner of `to`: the nearest pixels.
    pub(super) fn labels(&self, from: &GrayImage, to: &mut GrayImage) {
        let columns = self.columns.nearest();
        let (width, to_width) = (from.width() as usize, to.width() as usize);
        for (y, to) in self.rows.nearest().into_iter().zip(to.chunks_exact_mut(to_width)) {
            let line = &from.as_raw()[y * width..][..width];
            to.iter_mut().zip(&columns).for_each(|(to, x)| *to = line[*x]);
        }
    }

    /// How many pixels of the window have each value.
    pub(super) fn histogram(&self, labels: &GrayImage) -> [u32; 256] {
        let columns = self.columns.nearest();
        let width = labels.width() as usize;
        let mut counts = [0; 256];
        for y in self.rows.nearest() {
            let line = &labels.as_raw()[y * width..][..width];
            columns.iter().for_each(|x| counts[usize::from(line[*x])] += 1);
        }
        counts
    }
}
