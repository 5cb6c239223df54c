//! `[model]`: the network that is trained, and the weights that it starts with.

use candle_deeplab::config::{
    Aspp, Auxiliary, Backbone, ConcatOrder, Config, Convolution, Decoder, ImagePooling, Network, Normalization,
    Preprocessing, SizeRule,
};
use candle_deeplab::suggest;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The network that is trained, and the weights that it starts with.
///
/// Fields that are not given are those of the model that training starts with, or, from scratch and for a new head,
/// those of Chen et al. 2018 (see [`Network::deeplabv3plus`]).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// The model that training starts with: `bundled`, a model directory, or a name that the caller knows. Its weights
    /// are taken where name and shape fit. Without it, training starts from scratch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// The backbone: one of [`Backbone::BUILTIN`], or a layout as in `config.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<BackboneChoice>,
    /// The factor of all widths of `backbone = "mobilenet_v2"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth_multiplier: Option<f64>,
    /// The head; a new one unless it is not given and the start has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Input size over backbone feature size in training: 8, 16 or 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_stride: Option<usize>,
    /// Extra dilation of the backbone's last block: see [`Network::multi_grid`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_grid: Option<[usize; 3]>,
    /// Whether bilinear resizes keep the centres of corner pixels in place: see [`Network::align_corners`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub align_corners: Option<bool>,
    /// Changes of the ASPP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aspp: Option<AsppChanges>,
    /// Changes of the decoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder: Option<DecoderChanges>,
    /// An auxiliary head, whose loss is weighted by `loss.auxiliary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auxiliary: Option<Auxiliary>,
    /// How an image becomes the network's input; by default as in the start, or pixels from −1 to 1 from scratch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<PreprocessingChanges>,
}

/// A backbone by name or by layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BackboneChoice {
    /// One of [`Backbone::BUILTIN`].
    Named(String),
    /// A layout as in `config.json`.
    Layout(Box<Backbone>),
}

/// The kind of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// An ASPP alone (Chen et al. 2017).
    DeepLabV3,
    /// An ASPP and a decoder (Chen et al. 2018).
    DeepLabV3Plus,
}

/// Fields of [`Aspp`] that a recipe sets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AsppChanges {
    /// Channels of each branch and of the projection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Atrous rates at the recipe's output stride.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Vec<usize>>,
    /// The place of the pooled branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pooling: Option<ImagePooling>,
    /// The kind of convolution in the atrous branches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convolution: Option<Convolution>,
}

/// Fields of [`Decoder`] that a recipe sets: the choices of section 4.1 of Chen et al. 2018.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecoderChanges {
    /// The tap of the low-level features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_level: Option<String>,
    /// Channels that the low-level features are reduced to (table 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_level_width: Option<usize>,
    /// Channels of each 3×3 convolution (table 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub widths: Option<Vec<usize>>,
    /// The kind of these convolutions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convolution: Option<Convolution>,
    /// What comes first in the concatenation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concat: Option<ConcatOrder>,
    /// A decoder before this one, on coarser low-level features (table 2); what it does not set is as in this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<DecoderChanges>>,
}

/// Fields of [`Preprocessing`] that a recipe sets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessingChanges {
    /// Mean in RGB order on 0–255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<[f32; 3]>,
    /// Divisor in RGB order on 0–255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<[f32; 3]>,
    /// Colour of the padding on 0–255; by default the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_value: Option<[f32; 3]>,
    /// The size of the trained network's input; by default the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeRule>,
}

impl Model {
    /// The network for so many classes, given the recipe of the model that training starts with.
    ///
    /// # Errors
    /// [`Error::Recipe`] where a setting is missing or does not fit the others.
    pub fn network(&self, start: Option<&Config>, classes: usize) -> Result<Network> {
        let start = start.map(|config| &config.network);
        let backbone = self.backbone(start)?;
        let mut network = match start {
            Some(start) if self.keeps_head(start) => Network { backbone, classes, ..start.clone() },
            _ => {
                let preset = match self.head.unwrap_or(Head::DeepLabV3Plus) {
                    Head::DeepLabV3 => Network::deeplabv3(backbone, classes),
                    Head::DeepLabV3Plus => Network::deeplabv3plus(backbone, classes),
                };
                match start {
                    Some(start) => {
                        Network { multi_grid: start.multi_grid, align_corners: start.align_corners, ..preset }
                    }
                    None => preset,
                }
            }
        };
        // Folded norms cannot be trained; those of the start are recovered.
        network.normalization = Normalization::BatchNorm;
        network.multi_grid = self.multi_grid.unwrap_or(network.multi_grid);
        network.align_corners = self.align_corners.unwrap_or(network.align_corners);
        network.auxiliary = self.auxiliary.clone();
        if let Some(stride) = self.output_stride {
            network = network.at_output_stride(stride)?;
        }
        if let (Some(changes), Some(aspp)) = (&self.aspp, &mut network.aspp) {
            changes.apply(aspp);
        }
        match (&self.decoder, &mut network.decoder) {
            (Some(changes), Some(decoder)) => changes.apply(decoder),
            (Some(_), None) => {
                return Err(Error::recipe("model.decoder", "this head has no decoder: set `head = \"deeplabv3plus\"`"));
            }
            (None, _) => {}
        }
        Ok(network)
    }

    /// How an image becomes the network's input. The values are checked with the whole config.
    pub fn preprocessing(&self, start: Option<&Config>, default: &Preprocessing) -> Preprocessing {
        let base = start.map_or(default, |config| &config.preprocessing);
        let native = SizeRule::Native { height: 1, width: 1 };
        let Some(changes) = &self.preprocessing else { return Preprocessing { size: native, ..base.clone() } };
        let mean = changes.mean.unwrap_or(base.mean);
        Preprocessing {
            mean,
            std: changes.std.unwrap_or(base.std),
            pad_value: changes.pad_value.unwrap_or(if changes.mean.is_some() { mean } else { base.pad_value }),
            size: changes.size.unwrap_or(native),
            filter: base.filter,
        }
    }

    /// Whether the head of the start is trained on, with other classes perhaps.
    fn keeps_head(&self, start: &Network) -> bool {
        let has = match &start.decoder {
            Some(_) => Head::DeepLabV3Plus,
            None => Head::DeepLabV3,
        };
        start.aspp.is_some() && self.head.is_none_or(|head| head == has)
    }

    fn backbone(&self, start: Option<&Network>) -> Result<Backbone> {
        let backbone = match (&self.backbone, start) {
            (Some(BackboneChoice::Layout(layout)), _) => Backbone::clone(layout),
            (Some(BackboneChoice::Named(name)), _) => named(name, self.depth_multiplier)?,
            (None, Some(start)) => start.backbone.clone(),
            (None, None) => {
                let reason = format!("training from scratch needs one of {}", Backbone::BUILTIN.join(", "));
                return Err(Error::recipe("model.backbone", reason));
            }
        };
        let is_named_mobilenet = matches!(&self.backbone, Some(BackboneChoice::Named(name)) if name == "mobilenet_v2");
        if self.depth_multiplier.is_some() && !is_named_mobilenet {
            return Err(Error::recipe("model.depth_multiplier", "it goes with `backbone = \"mobilenet_v2\"` only"));
        }
        Ok(backbone)
    }
}

fn named(name: &str, depth_multiplier: Option<f64>) -> Result<Backbone> {
    match depth_multiplier {
        Some(factor) if name == "mobilenet_v2" => {
            if (0.1..=4.0).contains(&factor) {
                return Ok(Backbone::mobilenet_v2(factor));
            }
            Err(Error::recipe("model.depth_multiplier", format!("{factor} must be between 0.1 and 4")))
        }
        _ => Backbone::builtin(name).ok_or_else(|| {
            let near = suggest::closest(name, Backbone::BUILTIN.iter().map(|name| vec![*name]));
            let known = Backbone::BUILTIN.join(", ");
            let question = suggest::question(&near);
            Error::recipe("model.backbone", format!("there is no `{name}`, only {known}{question}"))
        }),
    }
}

impl AsppChanges {
    fn apply(&self, aspp: &mut Aspp) {
        set(&mut aspp.width, &self.width);
        set(&mut aspp.rates, &self.rates);
        set(&mut aspp.image_pooling, &self.image_pooling);
        set(&mut aspp.convolution, &self.convolution);
    }
}

impl DecoderChanges {
    fn apply(&self, decoder: &mut Decoder) {
        set(&mut decoder.low_level, &self.low_level);
        set(&mut decoder.low_level_width, &self.low_level_width);
        set(&mut decoder.widths, &self.widths);
        set(&mut decoder.convolution, &self.convolution);
        set(&mut decoder.concat, &self.concat);
        if let Some(changes) = &self.before {
            let mut before = Decoder { before: None, ..decoder.clone() };
            changes.apply(&mut before);
            decoder.before = Some(Box::new(before));
        }
    }
}

fn set<T: Clone>(field: &mut T, wanted: &Option<T>) {
    if let Some(wanted) = wanted {
        field.clone_from(wanted);
    }
}
