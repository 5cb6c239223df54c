//! Losses on logits that are upsampled to the size of the labels, and their gradients.
//!
//! On the CPU, a fused kernel (`fused.rs`) computes the loss and its gradient for the logits at the head's resolution, a
//! few rows at a time, without ever storing the upsampled ones. On other devices and for other types, candle's autograd
//! computes them (`autograd.rs`); this is also the reference that the tests compare the kernel with.

mod autograd;
mod fused;
mod hard;
mod labels;
mod lovasz;
mod recipe;
mod regions;
mod softmax;
mod survey;
mod target;
#[cfg(test)]
mod tests;
mod upsampled;
mod value;

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use labels::LabelMaps;
pub use recipe::{CrossEntropy, Dice, Focal, HardPixels, Lovasz, Recipe};
pub use value::Value;

/// A loss for networks of a certain number of classes.
#[derive(Debug, Clone)]
pub struct Loss {
    recipe: Recipe,
    classes: usize,
}

impl Loss {
    /// A loss for a network of so many classes.
    ///
    /// # Errors
    /// [`Error::Recipe`](crate::Error::Recipe) for a setting outside its range, or weights that are not one for each
    /// class.
    pub fn new(recipe: &Recipe, classes: usize) -> Result<Self> {
        recipe.check(classes)?;
        Ok(Self { recipe: recipe.clone(), classes })
    }

    /// The loss of `logits` `[N, C, h, w]`, which are upsampled bilinearly to the size of `labels` (u8 `[N, H, W]`, 255
    /// is ignored). `step` counts from 0; the share of hard pixels depends on it.
    ///
    /// The result does not depend on the number of threads.
    ///
    /// # Errors
    /// [`Error::Label`](crate::Error::Label) for a label that is no class; otherwise where the shapes do not fit each
    /// other or candle cannot compute on the device.
    pub fn compute(&self, logits: &Tensor, labels: &Tensor, align_corners: bool, step: usize) -> Result<Value> {
        let labels = LabelMaps::new(labels, logits, self.classes)?;
        if matches!(logits.device(), Device::Cpu) && logits.dtype() == DType::F32 {
            fused::compute(&self.recipe, logits, &labels, align_corners, step)
        } else {
            autograd::compute(&self.recipe, logits, &labels, align_corners, step)
        }
    }
}
