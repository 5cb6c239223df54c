//! Logits upsampled row by row, and the way back for their gradient.
//!
//! The rows of the upsampled map that lie between the same two rows of logits are a *band*. A band interpolates its two
//! rows horizontally once, blends them for each of its rows, and collects its part of the gradient for both. Bands are
//! computed in parallel, each on its own, and their parts are added in a fixed order, so that the result does not depend
//! on the threads.

use std::ops::Range;

use candle_deeplab::graph::{Axis, Lerp};
use rayon::prelude::*;

use super::labels::LabelMaps;

/// The logits `[N, C, h, w]` of a batch, seen at the size of its label maps.
pub(super) struct Upsampled<'a> {
    pub(super) logits: &'a [f32],
    pub(super) labels: &'a LabelMaps,
    pub(super) classes: usize,
    low: (usize, usize),
    rows: Axis,
    columns: Axis,
    /// For each column of logits, the upsampled columns between it and the next.
    column_runs: Vec<Range<usize>>,
    /// For each row of logits, the upsampled rows between it and the next.
    row_runs: Vec<Range<usize>>,
}

/// The rows between two rows of logits of one image.
#[derive(Debug, Clone)]
pub(super) struct Band {
    pub(super) image: usize,
    /// The row of logits above.
    above: usize,
    /// The upsampled rows.
    pub(super) rows: Range<usize>,
}

/// A band's part of the gradient, `[C, w]` each: for the row of logits above it, and for that below.
struct Part {
    above: Vec<f32>,
    below: Vec<f32>,
}

/// What a thread works in: maps `[C, W]` of one upsampled row.
pub(super) struct Scratch {
    /// The logits of the row above and below, interpolated horizontally.
    above: Vec<f32>,
    below: Vec<f32>,
    /// The gradients for these.
    to_above: Vec<f32>,
    to_below: Vec<f32>,
    /// The row itself: logits, which the caller overwrites with probabilities or the gradient.
    row: Vec<f32>,
}

impl<'a> Upsampled<'a> {
    pub(super) fn new(
        logits: &'a [f32],
        labels: &'a LabelMaps,
        classes: usize,
        low: (usize, usize),
        align_corners: bool,
    ) -> Self {
        let rows = Axis::new(low.0, labels.height, align_corners);
        let columns = Axis::new(low.1, labels.width, align_corners);
        let (row_runs, column_runs) = (runs(&rows, low.0), runs(&columns, low.1));
        Self { logits, labels, classes, low, rows, columns, column_runs, row_runs }
    }

    /// All bands that have a row, image by image and from top to bottom.
    pub(super) fn bands(&self) -> Vec<Band> {
        let of_image = |image| {
            let band = move |(above, rows): (usize, &Range<usize>)| Band { image, above, rows: rows.clone() };
            self.row_runs.iter().enumerate().map(band).filter(|band| !band.rows.is_empty())
        };
        (0..self.labels.images).flat_map(of_image).collect()
    }

    pub(super) fn scratch(&self) -> Scratch {
        let map = || vec![0.0; self.classes * self.labels.width];
        Scratch { above: map(), below: map(), to_above: map(), to_below: map(), row: map() }
    }

    /// The labels of an upsampled row.
    fn row_labels(&self, image: usize, y: usize) -> &'a [u8] {
        &self.labels.ids[(image * self.labels.height + y) * self.labels.width..][..self.labels.width]
    }

    /// Calls `visit` for each row of a band, from top to bottom, with its number within the band, its logits `[C, W]`
    /// and its labels.
    pub(super) fn visit(&self, band: &Band, scratch: &mut Scratch, mut visit: impl FnMut(usize, &mut [f32], &[u8])) {
        self.spread(band, scratch);
        for (i, y) in band.rows.clone().enumerate() {
            blend(&scratch.above, &scratch.below, self.rows.0[y].weight, &mut scratch.row);
            visit(i, &mut scratch.row, self.row_labels(band.image, y));
        }
    }

    /// Computes the gradient for the logits `[N, C, h, w]`. `of_row` turns the logits of an upsampled row into their
    /// gradient, or returns `false` if that is zero. Returns what `finish` makes of each band's state, too, in the
    /// order of [`bands`](Self::bands).
    pub(super) fn gradient<S: Send>(
        &self,
        start: impl Fn() -> S + Sync,
        of_row: impl Fn(&mut S, &Band, usize, &mut [f32], &[u8]) -> bool + Sync,
    ) -> (Vec<f32>, Vec<S>) {
        let bands = self.bands();
        let computed: Vec<(Part, S)> = bands
            .par_iter()
            .map_init(
                || self.scratch(),
                |scratch, band| {
                    let mut state = start();
                    self.spread(band, scratch);
                    scratch.to_above.fill(0.0);
                    scratch.to_below.fill(0.0);
                    for y in band.rows.clone() {
                        let weight = self.rows.0[y].weight;
                        blend(&scratch.above, &scratch.below, weight, &mut scratch.row);
                        if of_row(&mut state, band, y, &mut scratch.row, self.row_labels(band.image, y)) {
                            unblend(&scratch.row, weight, &mut scratch.to_above, &mut scratch.to_below);
                        }
                    }
                    let part = Part { above: self.gather(&scratch.to_above), below: self.gather(&scratch.to_below) };
                    (part, state)
                },
            )
            .collect();
        let (parts, states): (Vec<Part>, Vec<S>) = computed.into_iter().unzip();
        (self.assemble(&bands, &parts), states)
    }

    /// Interpolates a band's two rows of logits horizontally.
    fn spread(&self, band: &Band, scratch: &mut Scratch) {
        let (h, w) = self.low;
        let below = (band.above + 1).min(h - 1);
        for (row, wide) in [(band.above, &mut scratch.above), (below, &mut scratch.below)] {
            for (class, wide) in wide.chunks_exact_mut(self.labels.width).enumerate() {
                let narrow = &self.logits[((band.image * self.classes + class) * h + row) * w..][..w];
                for (near, run) in self.column_runs.iter().enumerate() {
                    let (a, b) = (narrow[near], narrow[(near + 1).min(w - 1)]);
                    for (value, column) in wide[run.clone()].iter_mut().zip(&self.columns.0[run.clone()]) {
                        *value = column.blend(a, b);
                    }
                }
            }
        }
    }

    /// The transposed of the horizontal interpolation: `[C, W]` to `[C, w]`.
    fn gather(&self, wide: &[f32]) -> Vec<f32> {
        let w = self.low.1;
        let mut narrow = vec![0.0; self.classes * w];
        for (narrow, wide) in narrow.chunks_exact_mut(w).zip(wide.chunks_exact(self.labels.width)) {
            for (near, run) in self.column_runs.iter().enumerate() {
                let (mut a, mut b) = (0.0, 0.0);
                for (&value, &Lerp { weight, .. }) in wide[run.clone()].iter().zip(&self.columns.0[run.clone()]) {
                    a += value * (1.0 - weight);
                    b += value * weight;
                }
                narrow[near] += a;
                narrow[(near + 1).min(w - 1)] += b;
            }
        }
        narrow
    }

    /// Adds the bands' parts, image by image and row by row.
    fn assemble(&self, bands: &[Band], parts: &[Part]) -> Vec<f32> {
        let (h, w) = self.low;
        let mut gradient = vec![0.0; self.labels.images * self.classes * h * w];
        for (band, part) in bands.iter().zip(parts) {
            let below = (band.above + 1).min(h - 1);
            for (row, part) in [(band.above, &part.above), (below, &part.below)] {
                for (class, part) in part.chunks_exact(w).enumerate() {
                    let at = ((band.image * self.classes + class) * h + row) * w;
                    gradient[at..at + w].iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
                }
            }
        }
        gradient
    }
}

/// For each of `from` inputs, the outputs between it and the next.
fn runs(axis: &Axis, from: usize) -> Vec<Range<usize>> {
    let mut end = 0;
    let run = |near| {
        let start = end;
        end += axis.0[start..].iter().take_while(|lerp| lerp.near == near).count();
        start..end
    };
    (0..from).map(run).collect()
}

fn blend(above: &[f32], below: &[f32], weight: f32, row: &mut [f32]) {
    if weight == 0.0 {
        return row.copy_from_slice(above);
    }
    for ((value, &a), &b) in row.iter_mut().zip(above).zip(below) {
        *value = a + (b - a) * weight;
    }
}

fn unblend(row: &[f32], weight: f32, above: &mut [f32], below: &mut [f32]) {
    for ((&value, a), b) in row.iter().zip(above).zip(below) {
        *a += value * (1.0 - weight);
        *b += value * weight;
    }
}
