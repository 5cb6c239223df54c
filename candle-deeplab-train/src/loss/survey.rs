//! What has to be known of all pixels before the gradient of any: a first pass, for the terms that need one.

use rayon::prelude::*;

use super::hard::Measure;
use super::labels::IGNORE;
use super::recipe::Recipe;
use super::regions::DiceSums;
use super::softmax::Softmax;
use super::target::Target;
use super::upsampled::{Band, Upsampled};

/// The result of the first pass.
pub(super) struct Survey {
    /// What hard pixels are told by, `[N, H, W]`; empty if nobody asks. That of ignored pixels means nothing.
    pub(super) measures: Vec<f32>,
    pub(super) dice: DiceSums,
    /// All probabilities, `[N, H, C, W]`; empty if nobody asks. Those of ignored pixels mean nothing.
    pub(super) probabilities: Vec<f32>,
}

/// What is asked for.
struct Questions {
    target: Target,
    measure: Option<Measure>,
    dice: bool,
    probabilities: bool,
}

/// What a thread works in, for one row of pixels.
struct Scratch {
    softmax: Softmax,
    /// See [`Target::spread_logits`].
    spread_logits: Vec<f32>,
    /// How much greater the greatest logit is than that of the label.
    margins: Vec<f32>,
}

/// A band's part of the result.
struct Part<'a> {
    measures: &'a mut [f32],
    probabilities: &'a mut [f32],
    dice: DiceSums,
}

impl Survey {
    pub(super) fn new(recipe: &Recipe, map: &Upsampled) -> Self {
        let (classes, width, pixels) = (map.classes, map.labels.width, map.labels.ids.len());
        let questions = Questions {
            target: Target::new(&recipe.cross_entropy, classes),
            measure: recipe.hard_pixels().map(|hard| hard.measure()),
            dice: recipe.dice.weight > 0.0,
            probabilities: recipe.lovasz.weight > 0.0,
        };
        let mut survey = Self {
            measures: vec![0.0; if questions.measure.is_some() { pixels } else { 0 }],
            dice: DiceSums::zero(classes),
            probabilities: vec![0.0; if questions.probabilities { pixels * classes } else { 0 }],
        };
        if questions.measure.is_none() && !questions.dice && !questions.probabilities {
            return survey;
        }
        let bands = map.bands();
        let measures = split(&mut survey.measures, &bands, width);
        let probabilities = split(&mut survey.probabilities, &bands, classes * width);
        let scratch = || {
            let row = || vec![0.0; width];
            (map.scratch(), Scratch { softmax: Softmax::new(width), spread_logits: row(), margins: row() })
        };
        let sums: Vec<DiceSums> = (&bands, measures, probabilities)
            .into_par_iter()
            .map_init(scratch, |(rows, scratch), (band, measures, probabilities)| {
                let mut part = Part { measures, probabilities, dice: DiceSums::zero(classes) };
                map.visit(band, rows, |i, row, ids| questions.row(scratch, &mut part, i, row, ids));
                part.dice
            })
            .collect();
        sums.iter().for_each(|sums| survey.dice.add(sums));
        survey
    }
}

impl Questions {
    /// Looks at row number `i` of a band: its logits `[C, W]`, which are overwritten, and its labels.
    fn row(&self, scratch: &mut Scratch, part: &mut Part, i: usize, row: &mut [f32], ids: &[u8]) {
        if ids.iter().all(|&id| id == IGNORE) {
            return;
        }
        let (width, len) = (ids.len(), row.len());
        let Scratch { softmax, spread_logits, margins } = scratch;
        softmax.start(row);
        if self.measure == Some(Measure::Loss) {
            self.target.spread_logits(row, spread_logits);
            judged(ids, |x, id| margins[x] = softmax.greatest[x] - row[usize::from(id) * width + x]);
        }
        softmax.exponentiate(row);
        match self.measure {
            Some(Measure::Loss) => judged(ids, |x, id| {
                let log = softmax.sum[x].ln();
                let (surprise, partition) = (margins[x] + log, softmax.greatest[x] + log);
                part.measures[i * width + x] = self.target.loss(id, surprise, partition, spread_logits[x]);
            }),
            Some(Measure::Probability) => judged(ids, |x, id| {
                part.measures[i * width + x] = row[usize::from(id) * width + x] / softmax.sum[x];
            }),
            None => {}
        }
        if !self.dice && !self.probabilities {
            return;
        }
        for row in row.chunks_exact_mut(width) {
            row.iter_mut().zip(&softmax.sum).for_each(|(p, sum)| *p /= sum);
        }
        if self.dice {
            part.dice.add_row(row, ids);
        }
        if self.probabilities {
            part.probabilities[i * len..][..len].copy_from_slice(row);
        }
    }
}

/// Calls `f` with the place and label of each judged pixel of a row.
pub(super) fn judged(ids: &[u8], mut f: impl FnMut(usize, u8)) {
    ids.iter().enumerate().filter(|&(_, &id)| id != IGNORE).for_each(|(x, &id)| f(x, id));
}

/// Splits a map that has `len` values for each upsampled row into the parts of the bands. All parts of an empty map are
/// empty.
fn split<'a>(mut map: &'a mut [f32], bands: &[Band], len: usize) -> Vec<&'a mut [f32]> {
    let len = if map.is_empty() { 0 } else { len };
    let mut parts = Vec::with_capacity(bands.len());
    for band in bands {
        let (part, rest) = map.split_at_mut(band.rows.len() * len);
        parts.push(part);
        map = rest;
    }
    parts
}
