//! What a loss returns.

use candle_core::Tensor;

/// The loss of a batch.
#[derive(Debug, Clone)]
pub struct Value {
    /// The loss; 0 where no pixel is judged.
    pub loss: f64,
    /// Its gradient for the logits, of the same shape and type.
    pub gradient: Tensor,
    /// How many pixels are judged: those whose label is not ignored.
    pub pixels: usize,
    /// At how many of them the label's class has the greatest upsampled logit.
    pub correct: usize,
}
