//! The target of cross-entropy: the label's class, with class weights and smoothing.

use super::recipe::{CrossEntropy, for_each_class};

/// Cross-entropy at one pixel of class `y`: `(1 − ε) w_y (−ln p_y) + ε/C Σ_c w_c (−ln p_c)` (PyTorch's
/// `CrossEntropyLoss`).
pub(super) struct Target {
    /// w, for each class.
    pub(super) weights: Vec<f32>,
    /// ε.
    smoothing: f32,
    /// ε/C.
    pub(super) spread: f32,
    /// ε/C Σ_c w_c.
    spread_over_all: f32,
}

impl Target {
    pub(super) fn new(recipe: &CrossEntropy, classes: usize) -> Self {
        let weights = for_each_class(&recipe.class_weights, classes);
        let smoothing = recipe.label_smoothing as f32;
        let spread = smoothing / classes as f32;
        let spread_over_all = spread * weights.iter().sum::<f32>();
        Self { weights, smoothing, spread, spread_over_all }
    }

    /// What the probability of the label's class should be, without its part of the smoothing, times its weight.
    pub(super) fn hit(&self, id: u8) -> f32 {
        (1.0 - self.smoothing) * self.weights[usize::from(id)]
    }

    /// The sum of the target over all classes.
    pub(super) fn total(&self, id: u8) -> f32 {
        self.hit(id) + self.spread_over_all
    }

    /// The loss at a pixel, given `−ln p_y`, `ln Σ_c exp z_c`, and ε/C Σ_c w_c z_c.
    pub(super) fn loss(&self, id: u8, surprise: f32, partition: f32, spread_logits: f32) -> f32 {
        let loss = self.hit(id) * surprise;
        if self.smoothing == 0.0 { loss } else { loss + self.spread_over_all * partition - spread_logits }
    }

    /// ε/C Σ_c w_c z_c for each pixel of a row of logits `[C, W]`; not computed without smoothing.
    pub(super) fn spread_logits(&self, logits: &[f32], sums: &mut [f32]) {
        if self.smoothing == 0.0 {
            return;
        }
        sums.fill(0.0);
        for (logits, weight) in logits.chunks_exact(sums.len()).zip(&self.weights) {
            let weight = weight * self.spread;
            sums.iter_mut().zip(logits).for_each(|(sum, z)| *sum += weight * z);
        }
    }
}
