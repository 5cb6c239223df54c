//! Augmentation: random scale, crop, flip and colours, of an image and its label map together.

mod photometric;
mod recipe;
mod resample;
#[cfg(test)]
mod tests;

use candle_deeplab::config::Preprocessing;
use candle_deeplab::graph::Size;
use image::{GrayImage, Luma, Rgb, RgbImage};
use rand::Rng;

use crate::data::{IGNORE, Pair};
use crate::error::Result;
use crate::random::{Purpose, numbered};
pub use photometric::Photometric;
pub use recipe::{Recipe, Scale};
use resample::{Axis, Window};

/// How often a crop is drawn anew in which one class covers too much (`RandomCrop` of mmsegmentation).
const CROP_TRIES: usize = 10;

/// Augments samples after a recipe.
#[derive(Debug, Clone)]
pub struct Augment {
    recipe: Recipe,
    /// The colour of padding.
    pad: [u8; 3],
}

/// What the network sees: a crop of an image and of its label map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// As large as the recipe's crop.
    pub image: RgbImage,
    /// As large as the image; [`IGNORE`] where the image is padding.
    pub labels: GrayImage,
    /// How much of the image, from its upper left corner, is not padding.
    pub valid: Size,
}

impl Augment {
    /// Checks a recipe. The colour of padding is that of the model's preprocessing.
    ///
    /// # Errors
    /// [`Error::Recipe`](crate::Error::Recipe) for numbers that are out of range.
    pub fn new(recipe: &Recipe, preprocessing: &Preprocessing) -> Result<Self> {
        recipe.validate()?;
        let pad = preprocessing.pad_value.map(|value| value.round().clamp(0.0, 255.0) as u8);
        Ok(Self { recipe: recipe.clone(), pad })
    }

    /// The height and width of all samples.
    pub fn size(&self) -> Size {
        let [height, width] = self.recipe.crop;
        Size::new(height, width)
    }

    /// Augments the sample at a place in a batch. It depends on nothing but these arguments and the recipe.
    pub fn apply(&self, pair: &Pair, seed: u64, batch: u64, place: usize) -> Sample {
        let mut random = numbered(seed, Purpose::Augmentation, [batch, place as u64]);
        let window = self.window(pair, &mut random);
        let [height, width] = self.recipe.crop.map(|side| side as u32);
        let mut image = RgbImage::from_pixel(width, height, Rgb(self.pad));
        let mut labels = GrayImage::from_pixel(width, height, Luma([IGNORE]));
        window.image(&pair.image, &mut image);
        window.labels(&pair.labels, &mut labels);
        let valid = window.size();
        if let Some(photometric) = &self.recipe.photometric {
            let change = photometric.draw(&mut random);
            let rows = image.chunks_exact_mut(3 * width as usize).take(valid.height);
            rows.for_each(|row| change.apply(&mut row[..3 * valid.width]));
        }
        Sample { image, labels, valid }
    }

    /// Draws scale, crop and flip.
    fn window(&self, pair: &Pair, random: &mut impl Rng) -> Window {
        let Recipe { crop: [crop_height, crop_width], cat_max_ratio, flip, .. } = self.recipe;
        let (height, width) = (pair.image.height() as usize, pair.image.width() as usize);
        let scale = self.recipe.scale.draw(random) * self.recipe.fitted(height, width);
        let scaled = |side: usize| ((side as f64 * scale + 0.5) as usize).max(1);
        let (scaled_height, scaled_width) = (scaled(height), scaled(width));
        let draw = |random: &mut _| {
            let rows = Axis::draw(height, scaled_height, crop_height, random);
            Window { rows, columns: Axis::draw(width, scaled_width, crop_width, random) }
        };
        let mut window = draw(random);
        if cat_max_ratio < 1.0 {
            for _ in 0..CROP_TRIES {
                if is_mixed(&window.histogram(&pair.labels), cat_max_ratio) {
                    break;
                }
                window = draw(random);
            }
        }
        if random.random_bool(flip) {
            window.columns.reverse();
        }
        window
    }
}

/// Whether there is more than one class, and none covers `cat_max_ratio` of the pixels that are judged.
fn is_mixed(histogram: &[u32; 256], cat_max_ratio: f64) -> bool {
    let classes = &histogram[..usize::from(IGNORE)];
    let judged: u32 = classes.iter().sum();
    let most = classes.iter().copied().max().unwrap_or_default();
    most < judged && f64::from(most) < cat_max_ratio * f64::from(judged)
}
