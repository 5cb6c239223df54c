//! Gradients of several batches for one step.

use candle_core::Tensor;

use crate::error::Result;

/// Averages the gradients of several batches. Each batch counts alike, however many of its pixels are judged.
#[derive(Debug)]
pub struct Accumulator {
    batches: usize,
    added: usize,
    sums: Vec<Option<Tensor>>,
}

impl Accumulator {
    /// Averages over so many batches, at least 1.
    pub fn new(batches: usize) -> Self {
        Self { batches: batches.max(1), added: 0, sums: Vec::new() }
    }

    /// Adds the gradients of a batch. Returns the mean when it is that of all batches, and starts again.
    ///
    /// # Errors
    /// Where the gradients of two batches differ in number or shape.
    pub fn add(&mut self, gradients: Vec<Option<Tensor>>) -> Result<Option<Vec<Option<Tensor>>>> {
        if self.batches == 1 {
            return Ok(Some(gradients));
        }
        if self.added == 0 {
            self.sums = gradients;
        } else if self.sums.len() == gradients.len() {
            for (sum, gradient) in self.sums.iter_mut().zip(gradients) {
                *sum = match (sum.take(), gradient) {
                    (Some(sum), Some(gradient)) => Some((sum + gradient)?),
                    (sum, gradient) => sum.or(gradient),
                };
            }
        } else {
            let reason = format!("{} gradients after {}", gradients.len(), self.sums.len());
            return Err(candle_core::Error::Msg(reason).into());
        }
        self.added += 1;
        if self.added < self.batches {
            return Ok(None);
        }
        self.added = 0;
        let scale = 1.0 / self.batches as f64;
        let mean = |sum: Option<Tensor>| sum.map(|sum| sum * scale).transpose();
        Ok(Some(std::mem::take(&mut self.sums).into_iter().map(mean).collect::<candle_core::Result<_>>()?))
    }

    /// Whether a mean is begun and not finished.
    pub fn is_pending(&self) -> bool {
        self.added > 0
    }
}
