//! The recipe: everything about a model that its weights do not hold.
//!
//! A model directory has a `config.json` (a [`Config`]) beside `model.safetensors`. The executors and the program have
//! no numeric defaults of their own: everything in which code bases differ is a field here, and its documentation says
//! who does what.

mod backbone;
mod presets;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub use crate::graph::Normalization;
use crate::labels::Labels;
pub use backbone::{
    Backbone, BlockPadding, DilationStart, EntryBlock, InvertedResidual, MobileNetV2, MobileNetV3, MultiGridRule,
    PoolPadding, ResNet, SqueezedResidual, Stem, StridedUnit, Unit, Xception,
};

/// The name of the recipe's file in a model directory.
pub const CONFIG_FILE: &str = "config.json";
/// The name of the weights' file in a model directory.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// The version of the `config.json` format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// The output strides (input size over feature size) that networks can have.
pub const OUTPUT_STRIDES: [usize; 3] = [8, 16, 32];

/// The largest `config.json` in bytes; a larger file is refused before it is read.
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
    /// The classes' names and colours.
    pub labels: Labels,
    /// Where the weights come from.
    pub provenance: Provenance,
}

/// The network: a backbone, an ASPP head and, for DeepLabv3+, a decoder; or a backbone alone, to start training from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The feature extractor.
    pub backbone: Backbone,
    /// Input size over backbone feature size: 8, 16 or 32. Past it, strides become dilations.
    pub output_stride: usize,
    /// Extra dilation of the last block's three units (Chen et al. 2017, section 3.2.1). `[1, 1, 1]` is none;
    /// TensorFlow's published ResNets need `[1, 2, 4]`. See also [`MultiGridRule`].
    pub multi_grid: [usize; 3],
    /// How convolutions are normalised.
    pub normalization: Normalization,
    /// Whether the centres of corner pixels stay in place in every bilinear resize. They do in TensorFlow, jfzhang95,
    /// smp and mmsegmentation's 769×769 models; they do not in VainF, torchvision and all other models of
    /// mmsegmentation.
    pub align_corners: bool,
    /// Atrous spatial pyramid pooling; `null` for a backbone without a head, which has features but no logits.
    pub aspp: Option<Aspp>,
    /// The DeepLabv3+ decoder; `null` for DeepLabv3.
    pub decoder: Option<Decoder>,
    /// The auxiliary head that the network was trained with, if it was kept. The logits do not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auxiliary: Option<Auxiliary>,
    /// The number of classes, background included; 0 for a backbone without a head.
    pub classes: usize,
}

/// Atrous spatial pyramid pooling (Chen et al. 2017): parallel branches over the backbone features, concatenated and
/// projected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aspp {
    /// Channels of each branch and of the projection (the paper's 256).
    pub width: usize,
    /// Dilation of each atrous 3×3 branch at [`Network::output_stride`]; empty for TensorFlow's MobileNetV2 models.
    pub rates: Vec<usize>,
    /// The place of the globally pooled branch in the concatenation.
    pub image_pooling: ImagePooling,
    /// The kind of convolution in the atrous branches.
    pub convolution: Convolution,
    /// Side of the projection's kernel: 1, or 3 in mmsegmentation.
    pub projection_kernel: usize,
    /// A 3×3 convolution after the projection: a dense one in torchvision's and VainF's DeepLabv3, a separable one in
    /// smp's DeepLabv3+, none in all others.
    pub refine: Option<Convolution>,
    /// Epsilon of the head's batch norms, here and in the decoder (1e-5 in every code base).
    pub batch_norm_eps: f64,
}

/// The place of ASPP's globally pooled branch in the concatenation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImagePooling {
    /// There is no such branch.
    None,
    /// Before the other branches (TensorFlow, mmsegmentation).
    First,
    /// After the other branches (torchvision, VainF, jfzhang95, smp).
    Last,
}

/// The kind of a 3×3 convolution in the head, at any rate, with norm and ReLU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Convolution {
    /// One kernel over all channels (VainF, jfzhang95, torchvision).
    Dense,
    /// A depthwise and a pointwise convolution, each with norm and ReLU (TensorFlow, mmsegmentation).
    Separable,
    /// A depthwise and a pointwise convolution, with norm and ReLU only after the second (smp; VainF's
    /// `separable_conv`).
    PlainSeparable,
}

/// The DeepLabv3+ decoder (Chen et al. 2018, section 3.1), which refines the ASPP output with low-level features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoder {
    /// The tap of the low-level features (a scope's path in the backbone), e.g. `entry_flow.block2.sepconv2`.
    pub low_level: String,
    /// Channels that the low-level features are reduced to (the paper's 48; section 4.1 compares 8–64).
    pub low_level_width: usize,
    /// What comes first in the concatenation.
    pub concat: ConcatOrder,
    /// Channels of each 3×3 convolution after the concatenation (the paper's `[256, 256]`).
    pub widths: Vec<usize>,
    /// The kind of these convolutions.
    pub convolution: Convolution,
    /// A decoder that comes before this one, with coarser low-level features (section 4.1 compares "Conv2" with "Conv3,
    /// then Conv2"; TensorFlow's `decoder_output_stride=8,4`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Decoder>>,
}

/// A second, simpler head on an earlier feature map, whose loss helps training (Zhao et al. 2017, section 4): dense 3×3
/// convolutions and a classifier, as torchvision's and mmsegmentation's `FCNHead`. Its norms have the head's epsilon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auxiliary {
    /// The tap of its input (a scope's path in the backbone): `block3` of a ResNet in both code bases, `block4` of
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

/// How an image becomes the network's input: RGB, resized by the size rule, then `(value − mean) / std` on 0–255, then
/// padded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Per-channel mean in RGB order on the 0–255 scale (TensorFlow: 127.5; its plain ResNets 123.15, 115.90, 103.06).
    pub mean: [f32; 3],
    /// Per-channel divisor in RGB order on the 0–255 scale (TensorFlow: 127.5; its plain ResNets 1).
    pub std: [f32; 3],
    /// Colour of the padding on the 0–255 scale (TensorFlow: the mean, so that normalised padding is exactly 0).
    pub pad_value: [f32; 3],
    /// The rule for the size of the network's input.
    pub size: SizeRule,
    /// The filter for resizing the image, if the size rule requires it.
    pub filter: Filter,
}

/// The rule that gives the network's input size for an image's size. Padding goes only to the bottom and the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum SizeRule {
    /// Scale so that the image just fits, keeping the aspect ratio, then pad to exactly this size (TensorFlow's VOC
    /// models: 513×513).
    Fit {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
    /// Scale each side independently to exactly this size (models with a fixed input, such as TFLite's).
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

/// An image resampling filter, named as in Pillow. Both are widened when scaling down, and so antialiased.
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
    /// [`Error::Io`] where the file cannot be read, [`Error::Config`] where it is not a recipe that this version
    /// understands.
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

    /// Checks what the types cannot guarantee; the network itself is checked when its graph is built.
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
    /// Checks the numbers of the preprocessing.
    pub(crate) fn validate(&self) -> std::result::Result<(), String> {
        // Beyond these, neighbouring values on 0–255 are no longer distinguishable, or become infinite.
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

/// The longest side of a network's input.
const MAX_SIDE: usize = 1 << 14;

impl SizeRule {
    /// The size in the rule as (height, width): exact for `fit` and `stretch`, the minimum for `native`.
    pub fn network_size(&self) -> (usize, usize) {
        match *self {
            Self::Fit { height, width } | Self::Stretch { height, width } | Self::Native { height, width } => {
                (height, width)
            }
        }
    }
}
