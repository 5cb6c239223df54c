//! The settings of a loss.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A loss: the weighted sum of its terms. A term of weight 0 is not computed.
///
/// By default, it is softmax cross-entropy alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Softmax cross-entropy.
    pub cross_entropy: CrossEntropy,
    /// Softmax focal loss.
    pub focal: Focal,
    /// Dice loss over the batch.
    pub dice: Dice,
    /// Lovász-softmax.
    pub lovasz: Lovasz,
}

/// Softmax cross-entropy: the mean over the judged pixels, weighted by their classes as PyTorch's `CrossEntropyLoss`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrossEntropy {
    /// The term's weight in the loss.
    pub weight: f64,
    /// A weight for each class; none means 1 for all. The mean is divided by the sum of the pixels' weights.
    pub class_weights: Vec<f64>,
    /// The share of the target that is spread over all classes, from 0 to 1 (PyTorch's `label_smoothing`).
    pub label_smoothing: f64,
    /// Counts only pixels that are hard; the mean is over these.
    pub hard_pixels: Option<HardPixels>,
}

/// Which pixels are hard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HardPixels {
    /// The pixels of the greatest losses (TensorFlow's `research/deeplab/utils/train_utils.py`).
    TopK {
        /// The share of all pixels of the batch, ignored ones included: `top_k_percent_pixels`.
        share: f64,
        /// The number of steps over which the share falls linearly from 1: `hard_example_mining_step`.
        #[serde(default)]
        ramp: usize,
    },
    /// The pixels whose class has a small probability, but at least a certain number of them (mmsegmentation's
    /// `OHEMPixelSampler`). The mean is over the pixels that are kept, as in HRNet's `OhemCrossEntropy`;
    /// mmsegmentation divides by the number of all pixels.
    Ohem {
        /// The probability below which a pixel is hard. Without it, exactly the `min_kept` pixels per image with the
        /// greatest losses are.
        #[serde(default)]
        threshold: Option<f64>,
        /// How many pixels per image are kept at least, over the whole batch.
        #[serde(default = "min_kept")]
        min_kept: usize,
    },
}

fn min_kept() -> usize {
    100_000
}

/// The softmax form of the focal loss (Lin et al. 2017, equation 5): the mean of `−α_y (1 − p_y)^γ ln p_y` over the
/// judged pixels, where `y` is the pixel's class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Focal {
    /// The term's weight in the loss.
    pub weight: f64,
    /// The exponent γ.
    pub gamma: f64,
    /// The factor α of each class; none means 1 for all. The mean is divided by the number of pixels.
    pub alpha: Vec<f64>,
}

/// Dice loss (segmentation_models_pytorch's `DiceLoss`, mode `multiclass`): `1 − (2 I + s) / (P + Y + s)` for each class
/// that the batch's labels hold, summed and divided by the number of all classes. Over the judged pixels of the batch, `I`
/// is the sum of the probabilities where the label is the class, `P` the sum of all its probabilities, and `Y` the
/// number of its pixels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dice {
    /// The term's weight in the loss.
    pub weight: f64,
    /// The constant `s` that keeps the quotient calm for small classes.
    pub smooth: f64,
}

/// Lovász-softmax (Berman et al. 2018): the surrogate of the mean IoU over the classes that the batch's labels hold
/// (`classes="present"`, `per_image=False`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lovasz {
    /// The term's weight in the loss.
    pub weight: f64,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        Self { weight: 1.0, class_weights: Vec::new(), label_smoothing: 0.0, hard_pixels: None }
    }
}

impl Default for Focal {
    fn default() -> Self {
        Self { weight: 0.0, gamma: 2.0, alpha: Vec::new() }
    }
}

impl Recipe {
    /// Which pixels the cross-entropy counts, if not all.
    pub(super) fn hard_pixels(&self) -> Option<&HardPixels> {
        self.cross_entropy.hard_pixels.as_ref().filter(|_| self.cross_entropy.weight > 0.0)
    }

    /// Checks the settings for a network of so many classes.
    pub(super) fn check(&self, classes: usize) -> Result<()> {
        let Self { cross_entropy, focal, dice, lovasz } = self;
        let weights = [
            ("loss.cross_entropy.weight", cross_entropy.weight),
            ("loss.focal.weight", focal.weight),
            ("loss.dice.weight", dice.weight),
            ("loss.lovasz.weight", lovasz.weight),
        ];
        for (setting, weight) in weights {
            in_range(setting, weight, f64::INFINITY)?;
        }
        if weights.iter().all(|&(_, weight)| weight == 0.0) {
            return Err(Error::recipe("loss", "every term has the weight 0: give one of them a weight"));
        }
        for (setting, values) in
            [("loss.cross_entropy.class_weights", &cross_entropy.class_weights), ("loss.focal.alpha", &focal.alpha)]
        {
            if !values.is_empty() && values.len() != classes {
                let reason =
                    format!("has {} values, but the network has {classes} classes: give one for each", values.len());
                return Err(Error::recipe(setting, reason));
            }
            values.iter().try_for_each(|&value| in_range(setting, value, f64::INFINITY))?;
        }
        in_range("loss.cross_entropy.label_smoothing", cross_entropy.label_smoothing, 1.0)?;
        in_range("loss.focal.gamma", focal.gamma, f64::INFINITY)?;
        in_range("loss.dice.smooth", dice.smooth, f64::INFINITY)?;
        match cross_entropy.hard_pixels {
            Some(HardPixels::TopK { share, .. }) => in_range("loss.cross_entropy.hard_pixels.share", share, 1.0),
            Some(HardPixels::Ohem { threshold: Some(threshold), .. }) => {
                in_range("loss.cross_entropy.hard_pixels.threshold", threshold, 1.0)
            }
            Some(HardPixels::Ohem { threshold: None, .. }) | None => Ok(()),
        }
    }
}

/// Checks that a value is at least 0, and at most `most`; that of infinity is not.
fn in_range(setting: &str, value: f64, most: f64) -> Result<()> {
    if value.is_finite() && (0.0..=most).contains(&value) {
        return Ok(());
    }
    let above = if most.is_finite() { format!(" to {most}") } else { " upwards".to_owned() };
    Err(Error::recipe(setting, format!("{value} is not in the range from 0{above}")))
}

/// A value for each class: those given, or 1 for all.
pub(super) fn for_each_class(values: &[f64], classes: usize) -> Vec<f32> {
    if values.is_empty() { vec![1.0; classes] } else { values.iter().map(|&value| value as f32).collect() }
}
