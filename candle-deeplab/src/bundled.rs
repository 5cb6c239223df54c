//! The model that is bundled with this crate.

use candle_core::Device;

use crate::config::Config;
use crate::error::Result;
use crate::model::DeepLab;

/// The name of the model in errors.
const NAME: &str = "bundled";

const CONFIG: &str = include_str!("../assets/bundled/config.json");
const WEIGHTS: &[u8] = include_bytes!("../assets/bundled/model.safetensors");

/// Loads the model that is bundled with this crate: it needs no file and no network connection.
///
/// It is DeepLabv3 with MobileNetV2 for the 21 classes of PASCAL VOC, at output stride 16 and 513×513 pixels: 2.1
/// million parameters in 4.2 MB of f16, and 2.8 billion multiply-adds per image. Google published it, quantised, under
/// Apache-2.0; `assets/bundled/README.md` describes its origin and the measurements.
///
/// ```
/// use candle_core::Device;
/// use candle_deeplab::Segmenter;
/// use image::DynamicImage;
///
/// let segmenter = Segmenter::new(candle_deeplab::bundled(&Device::Cpu)?);
/// let segmentation = segmenter.segment(&DynamicImage::new_rgb8(64, 48))?;
/// assert_eq!(segmentation.found()[0].name, "background");
/// # Ok::<(), candle_deeplab::Error>(())
/// ```
///
/// # Errors
/// [`Error::Candle`](crate::Error::Candle) where the device fails.
pub fn bundled(device: &Device) -> Result<DeepLab> {
    DeepLab::from_embedded(NAME, CONFIG, WEIGHTS, device)
}

/// The recipe of the bundled model.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config), which a test rules out, as the recipe is part of this crate.
pub fn config() -> Result<Config> {
    Config::parse(CONFIG, NAME.as_ref())
}
