//! The loss by candle's autograd, on upsampled logits: for devices other than the CPU, and as the reference.

use candle_core::{DType, Tensor, Var};
use candle_deeplab::ops::resize_bilinear;

use super::hard::Measure;
use super::labels::{IGNORE, LabelMaps};
use super::recipe::{CrossEntropy, Dice, Focal, HardPixels, Recipe, for_each_class};
use super::regions::lovasz_softmax;
use super::value::Value;
use crate::error::Result;

/// The upsampled logits and their labels, as tensors on the logits' device.
struct Upsampled<'a> {
    labels: &'a LabelMaps,
    /// `ln p`, `[N, C, H, W]`.
    log_p: Tensor,
    /// u32 `[N, H, W]`, with 0 for ignored pixels.
    classes: Tensor,
    /// 1 where a pixel is judged, 0 elsewhere, `[N, H, W]`.
    judged: Tensor,
    /// `−ln p` of the label's class, `[N, H, W]`.
    surprise: Tensor,
}

/// See [`Loss::compute`](super::Loss::compute), for logits of any type on any device. Half-width types are computed in
/// f32.
pub(super) fn compute(
    recipe: &Recipe,
    logits: &Tensor,
    labels: &LabelMaps,
    align_corners: bool,
    step: usize,
) -> Result<Value> {
    let wide = if logits.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let input = Var::from_tensor(&logits.detach().to_dtype(wide)?)?;
    let upsampled = resize_bilinear(&input, (labels.height, labels.width), align_corners)?;
    let map = Upsampled::new(&upsampled, labels)?;
    let mut terms = Vec::new();
    if recipe.cross_entropy.weight > 0.0 {
        terms.push((map.cross_entropy(&recipe.cross_entropy, step)? * recipe.cross_entropy.weight)?);
    }
    if recipe.focal.weight > 0.0 {
        terms.push((map.focal(&recipe.focal)? * recipe.focal.weight)?);
    }
    if recipe.dice.weight > 0.0 {
        terms.push((map.dice(&recipe.dice)? * recipe.dice.weight)?);
    }
    if recipe.lovasz.weight > 0.0 {
        terms.push(map.lovasz(recipe.lovasz.weight)?);
    }
    let loss = terms.iter().skip(1).try_fold(terms[0].clone(), |sum, term| sum + term)?;
    let gradient = match loss.backward()?.remove(&input) {
        Some(gradient) => gradient.to_dtype(logits.dtype())?,
        None => logits.zeros_like()?,
    };
    Ok(Value {
        loss: loss.to_dtype(DType::F64)?.to_scalar()?,
        gradient,
        pixels: labels.judged(),
        correct: map.correct(&upsampled)?,
    })
}

impl<'a> Upsampled<'a> {
    fn new(logits: &Tensor, labels: &'a LabelMaps) -> Result<Self> {
        let shape = (labels.images, labels.height, labels.width);
        let ids = labels.ids.iter().map(|&id| if id == IGNORE { 0 } else { u32::from(id) }).collect();
        let classes = Tensor::from_vec(ids, shape, logits.device())?;
        let judged = labels.ids.iter().map(|&id| f32::from(u8::from(id != IGNORE))).collect();
        let judged = Tensor::from_vec(judged, shape, logits.device())?.to_dtype(logits.dtype())?;
        // The greatest logit is a constant: it cancels.
        let centred = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
        let log_p = centred.broadcast_sub(&centred.exp()?.sum_keepdim(1)?.log()?)?;
        let surprise = log_p.gather(&classes.unsqueeze(1)?, 1)?.squeeze(1)?.neg()?;
        Ok(Self { labels, log_p, classes, judged, surprise })
    }

    /// A tensor of one value for each pixel.
    fn per_pixel(&self, values: Vec<f32>) -> Result<Tensor> {
        let tensor = Tensor::from_vec(values, self.classes.dims(), self.log_p.device())?;
        Ok(tensor.to_dtype(self.log_p.dtype())?)
    }

    /// The weight of each pixel's class, 0 for ignored pixels.
    fn weights(&self, of_class: &[f32]) -> Result<Tensor> {
        let of_pixel = |&id: &u8| if id == IGNORE { 0.0 } else { of_class[usize::from(id)] };
        self.per_pixel(self.labels.ids.iter().map(of_pixel).collect())
    }

    fn cross_entropy(&self, recipe: &CrossEntropy, step: usize) -> Result<Tensor> {
        let classes = self.log_p.dim(1)?;
        let of_class = for_each_class(&recipe.class_weights, classes);
        let mut weights = self.weights(&of_class)?;
        let smoothing = recipe.label_smoothing;
        let mut losses = ((&self.surprise * &weights)? * (1.0 - smoothing))?;
        if smoothing > 0.0 {
            let of_class = Tensor::from_vec(of_class, (1, classes, 1, 1), self.log_p.device())?;
            let all = self.log_p.broadcast_mul(&of_class.to_dtype(self.log_p.dtype())?)?.sum(1)?;
            losses = (losses - ((all * &self.judged)? * (smoothing / classes as f64))?)?;
        }
        if let Some(hard) = &recipe.hard_pixels {
            let kept = self.per_pixel(self.kept(hard, &losses, step)?)?;
            losses = (losses * &kept)?;
            weights = (weights * kept)?;
        }
        let weight: f64 = weights.sum_all()?.to_dtype(DType::F64)?.to_scalar()?;
        Ok((losses.sum_all()? * if weight > 0.0 { 1.0 / weight } else { 0.0 })?)
    }

    /// 1 for each pixel that is hard, 0 for the others.
    fn kept(&self, hard: &HardPixels, losses: &Tensor, step: usize) -> Result<Vec<f32>> {
        let measures = match hard.measure() {
            Measure::Loss => losses.clone(),
            Measure::Probability => self.surprise.neg()?.exp()?,
        };
        let measures: Vec<f32> = measures.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let kept = hard.select(&measures, self.labels, step);
        Ok(kept.into_iter().map(|kept| f32::from(u8::from(kept))).collect())
    }

    fn focal(&self, recipe: &Focal) -> Result<Tensor> {
        let alpha = self.weights(&for_each_class(&recipe.alpha, self.log_p.dim(1)?))?;
        let mut losses = (&self.surprise * alpha)?;
        if recipe.gamma > 0.0 {
            // A power has no derivative at 0.
            let rest = (1.0 - self.surprise.neg()?.exp()?)?.maximum(1e-30)?;
            losses = (losses * (rest.log()? * recipe.gamma)?.exp()?)?;
        }
        Ok((losses.sum_all()? / self.labels.judged().max(1) as f64)?)
    }

    fn dice(&self, recipe: &Dice) -> Result<Tensor> {
        let (_, classes, _, _) = self.log_p.dims4()?;
        let p = self.log_p.exp()?.broadcast_mul(&self.judged.unsqueeze(1)?)?;
        let numbers = Tensor::arange(0, classes as u32, p.device())?.reshape((1, classes, 1, 1))?;
        let members = self.classes.unsqueeze(1)?.broadcast_eq(&numbers)?.to_dtype(p.dtype())?;
        let shared = (&p * members)?.sum((0, 2, 3))?;
        let counts: Vec<f64> = self.labels.counts.iter().map(|&count| count as f64).collect();
        let counts = Tensor::from_vec(counts, classes, p.device())?.to_dtype(p.dtype())?;
        let overlap = ((shared * 2.0)? + recipe.smooth)?;
        let total = ((p.sum((0, 2, 3))? + &counts)? + recipe.smooth)?.maximum(1e-7)?;
        let present = counts.gt(0.0)?.to_dtype(p.dtype())?;
        Ok(((1.0 - (overlap / total)?)? * present)?.mean_all()?)
    }

    /// The Lovász loss is linear in the probabilities, as long as their order stays the same: its derivatives are
    /// computed from the values, and are constants of the graph.
    fn lovasz(&self, weight: f64) -> Result<Tensor> {
        // [N, H, C, W]
        let p = self.log_p.exp()?.transpose(1, 2)?.contiguous()?;
        let mut slopes: Vec<f32> = p.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        lovasz_softmax(weight, self.labels, &mut slopes);
        // The error of a pixel for its own class is 1 − p.
        let (classes, width) = (p.dim(2)?, self.labels.width);
        let own = |(pixel, &id): (usize, &u8)| {
            let at = (pixel / width * classes + usize::from(id)) * width + pixel % width;
            if id == IGNORE { 0.0 } else { -f64::from(slopes[at]) }
        };
        let constant: f64 = self.labels.ids.iter().enumerate().map(own).sum();
        let slopes = Tensor::from_vec(slopes, p.dims(), p.device())?.to_dtype(p.dtype())?;
        Ok(((p * slopes)?.broadcast_mul(&self.judged.unsqueeze(2)?)?.sum_all()? + constant)?)
    }

    /// How many judged pixels have the label's class as the first of the greatest logits.
    fn correct(&self, logits: &Tensor) -> Result<usize> {
        let hits = logits.argmax(1)?.eq(&self.classes)?.to_dtype(DType::F32)?;
        let hits: Vec<f32> = (hits.flatten_all()? * self.judged.to_dtype(DType::F32)?.flatten_all()?)?.to_vec1()?;
        Ok(hits.iter().filter(|&&hit| hit > 0.0).count())
    }
}
