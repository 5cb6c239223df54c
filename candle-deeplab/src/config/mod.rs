//! The recipe: everything about a model that its weights do not hold.
//!
//! A model directory is `config.json` (a [`Config`]) beside `model.safetensors`. Nothing in the executors or the
//! program has a numeric default of its own: what the code bases disagree about is a field here, and its
//! documentation says who does what.

mod backbone;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub use crate::graph::Normalization;
use crate::labels::Labels;
pub use backbone::{
    Backbone, BlockPadding, DilationStart, EntryBlock, InvertedResidual, MobileNetV2, MobileNetV3, MultiGridRule,
    PoolPadding, ResNet, SqueezedResidual, Stem, StridedUnit, Unit, Xception,
};

/// The recipe's file in a model directory.
pub const CONFIG_FILE: &str = "config.json";
/// The weights' file in a model directory.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// The version of the `config.json` format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// The output strides (input size over feature size) that networks can have.
pub const OUTPUT_STRIDES: [usize; 3] = [8, 16, 32];

/// `config.json` is small; a larger file is not one, and is refused before it is read.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The whole recipe of a model, as stored in `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The format of this file, [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The network: layers and numerics.
    pub network: Network,
    /// How an image becomes the network's input.
    pub preprocessing: Preprocessing,
    /// What the classes are called and how they are drawn.
    pub labels: Labels,
    /// Where the weights come from.
    pub provenance: Provenance,
}

/// The network: a backbone, an ASPP head and, for DeepLabv3+, a decoder. Or a backbone alone, to start training from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The feature extractor.
    pub backbone: Backbone,
    /// Input size over backbone feature size: 8, 16 or 32. Past it, strides become dilations.
    pub output_stride: usize,
    /// Extra dilation of the last block's three units (Chen et al. 2017, section 3.2.1).
    /// `[1, 1, 1]` where there is none; TensorFlow's published ResNets want `[1, 2, 4]`. See also [`MultiGridRule`].
    pub multi_grid: [usize; 3],
    /// How convolutions are normalised.
    pub normalization: Normalization,
    /// Corner pixels keep their place in every bilinear resize. TensorFlow, jfzhang95, smp and mmsegmentation's 769×769
    /// models do, VainF, torchvision and all other models of mmsegmentation do not.
    pub align_corners: bool,
    /// Atrous spatial pyramid pooling; `null` is a backbone without a head, which has features and no logits.
    pub aspp: Option<Aspp>,
    /// The DeepLabv3+ decoder; `null` is DeepLabv3.
    pub decoder: Option<Decoder>,
    /// The auxiliary head that a network was trained with, where it was kept. It takes no part in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auxiliary: Option<Auxiliary>,
    /// Number of classes, background included; 0 for a backbone without a head.
    pub classes: usize,
}

/// Atrous spatial pyramid pooling (Chen et al. 2017): parallel looks at the backbone features, concatenated and projected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aspp {
    /// Channels of each branch and of the projection (the paper's 256).
    pub width: usize,
    /// Dilation of each atrous 3×3 branch at [`Network::output_stride`]; empty for TensorFlow's MobileNetV2 models.
    pub rates: Vec<usize>,
    /// Where the globally pooled branch stands in the concatenation.
    pub image_pooling: ImagePooling,
    /// How the atrous branches convolve.
    pub convolution: Convolution,
    /// Side of the projection's kernel: 1, or 3 in mmsegmentation.
    pub projection_kernel: usize,
    /// A 3×3 convolution after the projection: torchvision's and VainF's DeepLabv3 have a dense one, smp's DeepLabv3+
    /// one of its separable ones, all others none.
    pub refine: Option<Convolution>,
    /// Epsilon of the head's batch norms, here and in the decoder (1e-5 in every code base).
    pub batch_norm_eps: f64,
}

/// Where ASPP's globally pooled branch stands in the concatenation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImagePooling {
    /// There is none.
    None,
    /// Before the others (TensorFlow, mmsegmentation).
    First,
    /// After the others (torchvision, VainF, jfzhang95, smp).
    Last,
}

/// A 3×3 convolution of the head, at any rate, with norm and ReLU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Convolution {
    /// One kernel over all channels (VainF, jfzhang95, torchvision).
    Dense,
    /// A depthwise and a pointwise one, each with norm and ReLU (TensorFlow, mmsegmentation).
    Separable,
    /// A depthwise and a pointwise one with a norm and ReLU after both only (smp; VainF's `separable_conv`).
    PlainSeparable,
}

/// The DeepLabv3+ decoder (Chen et al. 2018, section 3.1): refine the ASPP output with low-level features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoder {
    /// The backbone's tap (a scope's path) that gives the low-level features, e.g. `entry_flow.block2.sepconv2`.
    pub low_level: String,
    /// Channels that the low-level features are reduced to (the paper's 48; section 4.1 compares 8–64).
    pub low_level_width: usize,
    /// What comes first in the concatenation.
    pub concat: ConcatOrder,
    /// Channels of each 3×3 convolution after the concatenation (the paper's `[256, 256]`).
    pub widths: Vec<usize>,
    /// How these convolve.
    pub convolution: Convolution,
}

/// A second, simpler head on an earlier feature map, whose loss helps training (Zhao et al. 2017, section 4): dense 3×3
/// convolutions and a classifier, as torchvision's and mmsegmentation's `FCNHead`. Its norms have the head's epsilon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auxiliary {
    /// The backbone's tap (a scope's path) that it looks at: `block3` of a ResNet in both code bases, `block4` of
    /// torchvision's MobileNetV3.
    pub tap: String,
    /// Channels of each 3×3 convolution before its classifier.
    pub widths: Vec<usize>,
}

/// What comes first in the decoder's concatenation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConcatOrder {
    /// The upsampled ASPP, then the low-level features (all but VainF).
    AsppFirst,
    /// The low-level features, then the upsampled ASPP (VainF).
    LowLevelFirst,
}

/// How an image becomes the network's input: RGB, `(value − mean) / std` on 0–255, then the size rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Per-channel mean in RGB order on the 0–255 scale (TensorFlow: 127.5; its plain ResNets 123.15, 115.90, 103.06).
    pub mean: [f32; 3],
    /// Per-channel divisor in RGB order on the 0–255 scale (TensorFlow: 127.5; its plain ResNets 1).
    pub std: [f32; 3],
    /// Colour of the padding on the 0–255 scale (TensorFlow: the mean, so that padding is exactly 0 after scaling).
    pub pad_value: [f32; 3],
    /// How the image's size becomes the network's.
    pub size: SizeRule,
    /// The filter that resizes the image where the size rule asks for it.
    pub filter: Filter,
}

/// How an image's size becomes the network's. Padding goes to the bottom and the right only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum SizeRule {
    /// Scale, keeping the aspect, so that the image just fits; then pad to exactly this size (TensorFlow's VOC models: 513×513).
    Fit {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
    /// Scale each side on its own to exactly this size (models with a fixed input, such as TFLite's).
    Stretch {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
    /// Keep the image's size; pad it to at least this size (TensorFlow's Cityscapes models: 1025×2049).
    Native {
        /// Least height in pixels.
        height: usize,
        /// Least width in pixels.
        width: usize,
    },
}

/// An image resampling filter, as Pillow names them: widened when scaling down, so both are antialiased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Triangle filter.
    Bilinear,
    /// Lanczos with three lobes (TensorFlow's demo; Pillow's former `ANTIALIAS`).
    Lanczos,
}

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The code base whose naming and numerics the weights follow, e.g. `tf_slim`.
    pub family: String,
    /// Name of the file that was converted.
    pub source: String,
    /// Format of that file.
    pub format: String,
    /// Program and version that wrote this directory.
    pub converter: String,
}

impl Config {
    /// Reads and validates `config.json`.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Config`] where it is not a recipe this version understands.
    pub fn from_file(path: &Path) -> Result<Self> {
        let Some(text) = crate::file::read_text(path, MAX_CONFIG_BYTES)? else {
            return Err(Error::config(path, format!("more than {MAX_CONFIG_BYTES} bytes is too large for a recipe")));
        };
        Self::parse(&text, path)
    }

    /// Reads and validates a recipe; errors call it `path`.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        let config: Self = serde_json::from_str(text).map_err(|e| Error::config(path, e.to_string()))?;
        config.validate().map_err(|reason| Error::config(path, reason))?;
        Ok(config)
    }

    /// Checks what the types cannot say; the network itself is checked when its graph is built.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn validate(&self) -> std::result::Result<(), String> {
        if self.format_version != FORMAT_VERSION {
            return Err(format!(
                "format_version {} is not {FORMAT_VERSION}: convert the weights again with this version",
                self.format_version
            ));
        }
        self.preprocessing.validate()?;
        match (&self.network.aspp, self.labels.names.len()) {
            (None, 0) => Ok(()),
            (None, names) => {
                Err(format!("labels.names has {names} names, but a backbone without a head has no classes"))
            }
            (Some(_), _) => self.labels.validate(self.network.classes),
        }
    }
}

impl Network {
    /// The same network and weights at another output stride, with the atrous rates scaled to match
    /// (6, 12, 18 at 16 are 12, 24, 36 at 8: Chen et al. 2017, section 4.1).
    ///
    /// # Errors
    /// [`Error::OutputStride`] unless it is 8, 16 or 32 and every rate stays a whole number.
    pub fn at_output_stride(&self, output_stride: usize) -> Result<Self> {
        let scale = |rate: usize| {
            let scaled = rate.checked_mul(self.output_stride)?;
            (output_stride > 0 && scaled.is_multiple_of(output_stride)).then(|| scaled / output_stride)
        };
        let configured = self.aspp.as_ref().map(|aspp| aspp.rates.clone()).unwrap_or_default();
        let rates = configured.iter().map(|&r| scale(r)).collect::<Option<Vec<_>>>();
        match rates {
            Some(rates) if OUTPUT_STRIDES.contains(&output_stride) => {
                let aspp = self.aspp.clone().map(|aspp| Aspp { rates, ..aspp });
                Ok(Self { output_stride, aspp, ..self.clone() })
            }
            _ => Err(Error::OutputStride { requested: output_stride, rates: configured, at: self.output_stride }),
        }
    }
}

impl Preprocessing {
    /// Checks the numbers that pixels meet.
    pub(crate) fn validate(&self) -> std::result::Result<(), String> {
        // Beyond these, a pixel on 0–255 is no longer told from the next one, or becomes infinite.
        if !self.std.iter().all(|std| (1e-3..=1e4).contains(std)) {
            return Err(format!("preprocessing.std {:?} must be between 0.001 and 10000", self.std));
        }
        if !self.mean.iter().chain(&self.pad_value).all(|value| value.abs() <= 1e4) {
            return Err("preprocessing.mean and pad_value must be at most 10000".into());
        }
        let (height, width) = self.size.network_size();
        let side = 1..=MAX_SIDE;
        if !side.contains(&height) || !side.contains(&width) {
            return Err(format!("preprocessing.size {height}×{width} must be between 1 and {MAX_SIDE} a side"));
        }
        Ok(())
    }
}

/// No side of a network's input is longer than this.
const MAX_SIDE: usize = 1 << 14;

impl SizeRule {
    /// The size named by the rule as (height, width): exact for `fit` and `stretch`, the least for `native`.
    pub fn network_size(&self) -> (usize, usize) {
        match *self {
            Self::Fit { height, width } | Self::Stretch { height, width } | Self::Native { height, width } => {
                (height, width)
            }
        }
    }
}
