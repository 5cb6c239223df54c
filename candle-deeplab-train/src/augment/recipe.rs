//! The recipe of augmentation.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::Photometric;
use crate::error::{Error, Result};

/// The longest side of a crop: that of a network's input.
const MAX_CROP: usize = 1 << 14;
/// The largest scale.
const MAX_SCALE: f64 = 16.0;

/// How samples are augmented: scaled, cropped, flipped, and changed in colour, in this order.
///
/// ```
/// use candle_deeplab_train::augment::Recipe;
///
/// let recipe: Recipe = toml::from_str("crop = [360, 480]\nscale = { min = 0.5, max = 2.0, step = 0.25 }").unwrap();
/// assert_eq!((recipe.crop, recipe.cat_max_ratio, recipe.photometric), ([360, 480], 0.75, None));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Height and width of the crop, which is the network's input. Smaller images are padded below and to the right, in
    /// the colour of the model's preprocessing; the padding's labels are ignored. The paper's VOC crop is 513×513.
    pub crop: [usize; 2],
    /// The random scale.
    pub scale: Scale,
    /// Scales each image, before the random scale, to the largest size that fits: the longer side into the larger of
    /// these numbers, the shorter side into the smaller (mmsegmentation: `[512, 2048]` for VOC and ADE20K). Without it,
    /// images keep their sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<[usize; 2]>,
    /// The share of a crop's judged pixels that one class may cover; else the crop is drawn anew, up to ten times
    /// (`RandomCrop` of mmsegmentation). 1 allows any crop, as the paper does.
    pub cat_max_ratio: f64,
    /// The probability that left and right are exchanged.
    pub flip: f64,
    /// Changes of colour, if they are wanted; the paper has none, mmsegmentation has them in all its recipes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub photometric: Option<Photometric>,
}

/// The factor by which an image is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scale {
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The distance of the possible scales, from the least to the largest (TensorFlow: 0.25). Without it, all scales
    /// between are equally likely (mmsegmentation).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
}

impl Default for Recipe {
    fn default() -> Self {
        let (scale, flip) = (Scale::default(), 0.5);
        Self { crop: [513, 513], scale, fit: None, cat_max_ratio: 0.75, flip, photometric: None }
    }
}

impl Default for Scale {
    /// 0.5 to 2, as Chen et al. 2017, section 4.1.
    fn default() -> Self {
        Self { min: 0.5, max: 2.0, step: None }
    }
}

impl Recipe {
    /// Checks that the numbers are possible.
    ///
    /// # Errors
    /// [`Error::Recipe`], which names the setting.
    pub fn validate(&self) -> Result<()> {
        let wrong = |setting: &str, reason: String| Err(Error::recipe(&format!("augment.{setting}"), reason));
        if !self.crop.iter().all(|side| (1..=MAX_CROP).contains(side)) {
            return wrong("crop", format!("{:?} must be height and width, each from 1 to {MAX_CROP}", self.crop));
        }
        let Scale { min, max, step } = self.scale;
        if !(min > 0.0 && min <= max && max <= MAX_SCALE) {
            return wrong(
                "scale",
                format!("min {min} and max {max} must be above 0, in this order, and at most {MAX_SCALE}"),
            );
        }
        if step.is_some_and(|step| !(step > 1e-3 && step <= MAX_SCALE)) {
            return wrong("scale.step", "it must be above 0.001; leave it out for all scales between".into());
        }
        if self.fit.is_some_and(|fit| !fit.iter().all(|side| (1..=MAX_CROP).contains(side))) {
            return wrong("fit", format!("it must be two sides in pixels, each from 1 to {MAX_CROP}"));
        }
        if !(self.cat_max_ratio > 0.0 && self.cat_max_ratio <= 1.0) {
            return wrong("cat_max_ratio", format!("{} must be a share above 0 and at most 1", self.cat_max_ratio));
        }
        if !(0.0..=1.0).contains(&self.flip) {
            return wrong("flip", format!("{} must be a probability, from 0 to 1", self.flip));
        }
        self.photometric.as_ref().map_or(Ok(()), Photometric::validate)
    }

    /// The factor of [`Recipe::fit`] for an image.
    pub(super) fn fitted(&self, height: usize, width: usize) -> f64 {
        let Some([a, b]) = self.fit else { return 1.0 };
        let long = a.max(b) as f64 / height.max(width).max(1) as f64;
        let short = a.min(b) as f64 / height.min(width).max(1) as f64;
        long.min(short)
    }
}

impl Scale {
    pub(super) fn draw(&self, random: &mut impl Rng) -> f64 {
        let Self { min, max, step } = *self;
        match step {
            None => random.random_range(min..=max),
            Some(step) => {
                // TensorFlow's `get_random_scale`: the scales are spread evenly, both ends among them.
                let steps = ((max - min) / step + 1e-6) as u32;
                let place = random.random_range(0..=steps);
                if steps == 0 { min } else { min + (max - min) * f64::from(place) / f64::from(steps) }
            }
        }
    }
}
