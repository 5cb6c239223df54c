//! Loss and gradient on the CPU, without storing the upsampled logits.

use candle_core::{Device, Tensor};

use super::labels::{IGNORE, LabelMaps};
use super::recipe::{Recipe, for_each_class};
use super::regions::{DiceSlopes, lovasz_softmax};
use super::softmax::Softmax;
use super::survey::{Survey, judged};
use super::target::Target;
use super::upsampled::{Band, Upsampled};
use super::value::Value;
use crate::error::Result;

/// See [`Loss::compute`](super::Loss::compute); the logits are f32 on the CPU.
pub(super) fn compute(
    recipe: &Recipe,
    logits: &Tensor,
    labels: &LabelMaps,
    align_corners: bool,
    step: usize,
) -> Result<Value> {
    let (_, classes, h, w) = logits.dims4()?;
    let values: Vec<f32> = logits.flatten_all()?.to_vec1()?;
    let map = Upsampled::new(&values, labels, classes, (h, w), align_corners);
    let Survey { measures, dice, mut probabilities } = Survey::new(recipe, &map);
    let mut loss = 0.0;
    let dice = (recipe.dice.weight > 0.0).then(|| {
        let (value, slopes) = dice.loss(&recipe.dice, labels);
        loss += recipe.dice.weight * value;
        slopes
    });
    let lovasz = (recipe.lovasz.weight > 0.0).then(|| {
        loss += recipe.lovasz.weight * lovasz_softmax(recipe.lovasz.weight, labels, &mut probabilities);
        probabilities
    });
    let kept = recipe.hard_pixels().map(|hard| hard.select(&measures, labels, step));
    let pass = Pass::new(recipe, labels, kept, dice, lovasz);
    let (gradient, bands) =
        map.gradient(|| State::new(labels.width), |state, band, y, row, ids| pass.row(state, band, y, row, ids));
    for state in &bands {
        loss += f64::from(pass.cross_entropy) * state.cross_entropy + f64::from(pass.focal) * state.focal;
    }
    Ok(Value {
        loss,
        gradient: Tensor::from_vec(gradient, logits.dims(), &Device::Cpu)?,
        pixels: labels.judged(),
        correct: bands.iter().map(|state| state.correct).sum(),
    })
}

/// The pass that computes the gradient.
///
/// The derivative of the loss for a pixel's logits `z` is `A p_c − a_c + p_c (d_c − Σ_k p_k d_k)`: `a` is the target of
/// the terms that look at one pixel at a time, multiplied by their derivative, `A` is its sum over the classes, and `d`
/// is the derivative of the other terms for the probabilities `p`.
struct Pass<'a> {
    labels: &'a LabelMaps,
    target: Target,
    /// The factor of a pixel's cross-entropy: the term's weight, divided by the sum of the pixels' weights.
    cross_entropy: f32,
    /// The pixels whose cross-entropy counts, `[N, H, W]`; none means all.
    kept: Option<Vec<bool>>,
    /// The factor of a pixel's focal loss.
    focal: f32,
    gamma: f32,
    alpha: Vec<f32>,
    dice: Option<DiceSlopes>,
    /// The derivative of the Lovász-softmax loss for the probabilities, `[N, H, C, W]`.
    lovasz: Option<Vec<f32>>,
}

/// What a band sums up, and what it works in, for one row of pixels.
struct State {
    cross_entropy: f64,
    focal: f64,
    correct: usize,
    softmax: Softmax,
    spread_logits: Vec<f32>,
    /// How much greater the greatest logit is than that of the label.
    margins: Vec<f32>,
    /// 1 / Σ exp where a pixel is judged, 0 elsewhere.
    inverse: Vec<f32>,
    /// A.
    total: Vec<f32>,
    /// The target at the label's class, without smoothing.
    hit: Vec<f32>,
    /// The cross-entropy's factor where it counts, 0 elsewhere.
    counts: Vec<f32>,
    /// Σ_k p_k d_k.
    mean_slope: Vec<f32>,
    slopes: Vec<f32>,
}

impl State {
    fn new(width: usize) -> Self {
        let row = || vec![0.0; width];
        Self {
            cross_entropy: 0.0,
            focal: 0.0,
            correct: 0,
            softmax: Softmax::new(width),
            spread_logits: row(),
            margins: row(),
            inverse: row(),
            total: row(),
            hit: row(),
            counts: row(),
            mean_slope: row(),
            slopes: row(),
        }
    }
}

impl<'a> Pass<'a> {
    fn new(
        recipe: &Recipe,
        labels: &'a LabelMaps,
        kept: Option<Vec<bool>>,
        dice: Option<DiceSlopes>,
        lovasz: Option<Vec<f32>>,
    ) -> Self {
        let classes = labels.counts.len();
        let target = Target::new(&recipe.cross_entropy, classes);
        let weight = match &kept {
            None => labels.weigh(&target.weights),
            Some(kept) => {
                let kept = kept.iter().zip(&labels.ids).filter(|&(&kept, _)| kept);
                kept.map(|(_, &id)| f64::from(target.weights[usize::from(id)])).sum()
            }
        };
        let factor = |term: f64, by: f64| if by > 0.0 { (term / by) as f32 } else { 0.0 };
        Self {
            labels,
            cross_entropy: factor(recipe.cross_entropy.weight, weight),
            target,
            kept,
            focal: factor(recipe.focal.weight, labels.judged() as f64),
            gamma: recipe.focal.gamma as f32,
            alpha: for_each_class(&recipe.focal.alpha, classes),
            dice,
            lovasz,
        }
    }

    /// Turns the logits `[C, W]` of row `y` into their gradient; `false` if that is zero.
    fn row(&self, state: &mut State, band: &Band, y: usize, row: &mut [f32], ids: &[u8]) -> bool {
        if ids.iter().all(|&id| id == IGNORE) {
            return false;
        }
        let width = ids.len();
        state.softmax.start(row);
        self.target.spread_logits(row, &mut state.spread_logits);
        judged(ids, |x, id| state.margins[x] = state.softmax.greatest[x] - row[usize::from(id) * width + x]);
        state.softmax.exponentiate(row);
        self.pixels(state, (band.image * self.labels.height + y) * width, row, ids);
        if self.dice.is_some() || self.lovasz.is_some() {
            self.with_slopes(state, (band.image * self.labels.height + y) * row.len(), row, ids);
        } else {
            for row in row.chunks_exact_mut(width) {
                for ((value, inverse), total) in row.iter_mut().zip(&state.inverse).zip(&state.total) {
                    *value *= inverse * total;
                }
            }
        }
        if self.target.spread > 0.0 {
            for (row, weight) in row.chunks_exact_mut(width).zip(&self.target.weights) {
                let spread = self.target.spread * weight;
                row.iter_mut().zip(&state.counts).for_each(|(value, counts)| *value -= spread * counts);
            }
        }
        judged(ids, |x, id| row[usize::from(id) * width + x] -= state.hit[x]);
        true
    }

    /// Computes the terms that look at one pixel at a time, and what of the gradient depends on the pixel only. `first`
    /// is the number of the row's first pixel.
    fn pixels(&self, state: &mut State, first: usize, exponentials: &[f32], ids: &[u8]) {
        for (x, &id) in ids.iter().enumerate() {
            (state.inverse[x], state.total[x], state.hit[x], state.counts[x]) = (0.0, 0.0, 0.0, 0.0);
            if id == IGNORE {
                continue;
            }
            let (sum, log) = (state.softmax.sum[x], state.softmax.sum[x].ln());
            let surprise = state.margins[x] + log;
            state.inverse[x] = 1.0 / sum;
            state.correct += usize::from(state.softmax.wins(x, id));
            if self.kept.as_ref().is_none_or(|kept| kept[first + x]) {
                let partition = state.softmax.greatest[x] + log;
                state.cross_entropy += f64::from(self.target.loss(id, surprise, partition, state.spread_logits[x]));
                state.total[x] = self.cross_entropy * self.target.total(id);
                state.hit[x] = self.cross_entropy * self.target.hit(id);
                state.counts[x] = self.cross_entropy;
            }
            if self.focal > 0.0 {
                let p = exponentials[usize::from(id) * ids.len() + x] / sum;
                let (loss, slope) = focal(self.gamma, p, surprise);
                let alpha = self.alpha[usize::from(id)];
                state.focal += f64::from(alpha * loss);
                state.total[x] += self.focal * alpha * slope;
                state.hit[x] += self.focal * alpha * slope;
            }
        }
    }

    /// Turns exponentials into `p_c (A + d_c − Σ_k p_k d_k)`. `first` is the place of the row's first value in
    /// `[N, H, C, W]`.
    fn with_slopes(&self, state: &mut State, first: usize, row: &mut [f32], ids: &[u8]) {
        let width = ids.len();
        let State { inverse, total, mean_slope, slopes, .. } = state;
        let slope = |class: usize, slopes: &mut [f32]| {
            match &self.lovasz {
                Some(lovasz) => slopes.copy_from_slice(&lovasz[first + class * width..][..width]),
                None => slopes.fill(0.0),
            }
            if let Some(dice) = &self.dice {
                for (slope, &id) in slopes.iter_mut().zip(ids) {
                    let inside = if usize::from(id) == class { dice.inside[class] } else { 0.0 };
                    *slope += dice.everywhere[class] + inside;
                }
            }
        };
        mean_slope.fill(0.0);
        for (class, row) in row.chunks_exact_mut(width).enumerate() {
            slope(class, slopes);
            for (((p, inverse), slope), mean) in row.iter_mut().zip(&*inverse).zip(&*slopes).zip(&mut *mean_slope) {
                *p *= inverse;
                *mean += *p * slope;
            }
        }
        for (class, row) in row.chunks_exact_mut(width).enumerate() {
            slope(class, slopes);
            for (((p, total), slope), mean) in row.iter_mut().zip(&*total).zip(&*slopes).zip(&*mean_slope) {
                *p *= total + slope - mean;
            }
        }
    }
}

/// `−(1 − p)^γ ln p`, given p and `−ln p`, and the factor by which its gradient `p_c − y_c` is multiplied.
fn focal(gamma: f32, p: f32, surprise: f32) -> (f32, f32) {
    // From the logarithm, 1 − p keeps its digits where p is almost 1.
    let rest = -(-surprise).exp_m1();
    if rest <= 0.0 {
        return if gamma == 0.0 { (surprise, 1.0) } else { (0.0, 0.0) };
    }
    let power = rest.powf(gamma);
    (power * surprise, power + gamma * p * surprise * power / rest)
}
