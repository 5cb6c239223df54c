//! Losses of whole regions: Dice and Lovász-softmax. They depend on the probabilities of all pixels together, so that
//! their derivatives are known only after a first pass.

use super::labels::{IGNORE, LabelMaps};
use super::lovasz::lovasz;
use super::recipe::Dice;

/// The sums that Dice loss is made of, for each class.
#[derive(Debug, Clone)]
pub(super) struct DiceSums {
    /// Of the class's probability over the pixels that are labelled with it.
    pub(super) shared: Vec<f64>,
    /// Of the class's probability over all judged pixels.
    pub(super) predicted: Vec<f64>,
}

/// The derivative of Dice loss for a class's probability at a judged pixel.
pub(super) struct DiceSlopes {
    /// At every pixel.
    pub(super) everywhere: Vec<f32>,
    /// And what is added to it at the pixels that are labelled with the class.
    pub(super) inside: Vec<f32>,
}

impl DiceSums {
    pub(super) fn zero(classes: usize) -> Self {
        Self { shared: vec![0.0; classes], predicted: vec![0.0; classes] }
    }

    /// Adds the probabilities `[C, W]` of a row of pixels.
    pub(super) fn add_row(&mut self, probabilities: &[f32], ids: &[u8]) {
        for (class, row) in probabilities.chunks_exact(ids.len()).enumerate() {
            let (mut shared, mut predicted) = (0.0, 0.0);
            for (p, &id) in row.iter().zip(ids) {
                predicted += if id == IGNORE { 0.0 } else { *p };
                shared += if usize::from(id) == class && id != IGNORE { *p } else { 0.0 };
            }
            self.shared[class] += f64::from(shared);
            self.predicted[class] += f64::from(predicted);
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sums, others) in [(&mut self.shared, &other.shared), (&mut self.predicted, &other.predicted)] {
            sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        }
    }

    /// The loss and its derivatives.
    pub(super) fn loss(&self, dice: &Dice, labels: &LabelMaps) -> (f64, DiceSlopes) {
        let classes = labels.counts.len();
        let mut slopes = DiceSlopes { everywhere: vec![0.0; classes], inside: vec![0.0; classes] };
        let mut loss = 0.0;
        for class in (0..classes).filter(|&class| labels.counts[class] > 0) {
            let overlap = 2.0 * self.shared[class] + dice.smooth;
            let total = self.predicted[class] + labels.counts[class] as f64 + dice.smooth;
            loss += (1.0 - overlap / total) / classes as f64;
            let scale = dice.weight / classes as f64;
            slopes.everywhere[class] = (scale * overlap / (total * total)) as f32;
            slopes.inside[class] = (-2.0 * scale / total) as f32;
        }
        (loss, slopes)
    }
}

/// The Lovász-softmax loss. `probabilities` `[N, H, C, W]` become `weight` times its derivatives; those of ignored
/// pixels mean nothing.
pub(super) fn lovasz_softmax(weight: f64, labels: &LabelMaps, probabilities: &mut [f32]) -> f64 {
    let (classes, width) = (labels.counts.len(), labels.width);
    let judged: Vec<usize> = (0..labels.ids.len()).filter(|&pixel| labels.ids[pixel] != IGNORE).collect();
    let scale = 1.0 / labels.present().max(1) as f64;
    let mut loss = 0.0;
    for class in 0..classes {
        let at = |pixel: usize| (pixel / width * classes + class) * width + pixel % width;
        if labels.counts[class] == 0 {
            probabilities.chunks_exact_mut(width).skip(class).step_by(classes).for_each(|row| row.fill(0.0));
            continue;
        }
        let member = |pixel: usize| usize::from(labels.ids[pixel]) == class;
        let error = |&pixel: &usize| {
            let probability = probabilities[at(pixel)];
            if member(pixel) { 1.0 - probability } else { probability }
        };
        let errors: Vec<f32> = judged.iter().map(error).collect();
        let (of_class, derivatives) = lovasz(&errors, |i| member(judged[i]));
        loss += of_class * scale;
        for (&pixel, derivative) in judged.iter().zip(derivatives) {
            let sign = if member(pixel) { -1.0 } else { 1.0 };
            probabilities[at(pixel)] = derivative * sign * (weight * scale) as f32;
        }
    }
    loss
}
