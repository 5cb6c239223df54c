//! The model in the box.

use candle_core::Device;

use crate::config::Config;
use crate::error::Result;
use crate::model::DeepLab;

/// What errors call it.
const NAME: &str = "bundled";

const CONFIG: &str = include_str!("../assets/bundled/config.json");
const WEIGHTS: &[u8] = include_bytes!("../assets/bundled/model.safetensors");

/// Loads the model that is part of this crate: no file, no network.
///
/// It is DeepLabv3 with MobileNetV2 for the 21 classes of PASCAL VOC, at output stride 16 and 513×513 pixels:
/// 2.1 million parameters in 4.2 MB of f16, 2.8 billion multiply-adds an image. Google published it, quantised, under
/// Apache-2.0; `assets/bundled/README.md` says where it comes from and what was measured.
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

/// Its recipe.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config), which a test rules out: the recipe is part of this crate.
pub fn config() -> Result<Config> {
    Config::parse(CONFIG, NAME.as_ref())
}
