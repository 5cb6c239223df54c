//! The files that transformers keeps beside a MobileNetV2's weights: `config.json` and `preprocessor_config.json`. What
//! they say is checked against the tensors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_deeplab::config::{Backbone, Filter, MobileNetV2, OUTPUT_STRIDES, Preprocessing, SizeRule};
use candle_deeplab::labels::Labels;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::decision::Decision;
use crate::error::{Error, Result};
use crate::read::{Checkpoint, HUB_CONFIG_FILE, read_small};

const PREPROCESSOR: &str = "preprocessor_config.json";
/// Both are a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;
/// The only one of transformers' networks that is a DeepLab.
const MODEL_TYPE: &str = "mobilenet_v2";

/// What both files of a folder say.
#[derive(Debug)]
pub(super) struct TransformersConfig {
    path: PathBuf,
    config: Config,
    pixels: Option<Pixels>,
}

/// `MobileNetV2Config`; what is not there has the default of that class.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    model_type: String,
    num_channels: usize,
    image_size: Sides,
    depth_multiplier: f64,
    depth_divisible_by: usize,
    min_depth: usize,
    expand_ratio: f64,
    output_stride: usize,
    first_layer_is_expansion: bool,
    finegrained_output: bool,
    hidden_act: String,
    tf_padding: bool,
    layer_norm_eps: f64,
    semantic_loss_ignore_index: i64,
    id2label: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model_type: String::new(),
            num_channels: 3,
            image_size: Sides::Both(224),
            depth_multiplier: 1.0,
            depth_divisible_by: 8,
            min_depth: 8,
            expand_ratio: 6.0,
            output_stride: 32,
            first_layer_is_expansion: true,
            finegrained_output: true,
            hidden_act: "relu6".into(),
            tf_padding: true,
            layer_norm_eps: 1e-3,
            semantic_loss_ignore_index: 255,
            id2label: BTreeMap::new(),
        }
    }
}

/// `MobileNetV2ImageProcessor`; what is not there or `null` has the default of that class.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pixels {
    do_resize: Option<bool>,
    size: Option<Sides>,
    resample: Option<u8>,
    do_center_crop: Option<bool>,
    crop_size: Option<Sides>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<Channels>,
    image_std: Option<Channels>,
}

/// A size in one of the ways in which these files write one.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Sides {
    Both(usize),
    Pair([usize; 2]),
    Named { height: usize, width: usize },
    Shortest { shortest_edge: usize },
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Channels {
    All(f64),
    Each([f64; 3]),
}

impl Sides {
    /// Height and width, where both are told.
    fn exact(self) -> Option<(usize, usize)> {
        match self {
            Self::Both(side) => Some((side, side)),
            Self::Pair([height, width]) | Self::Named { height, width } => Some((height, width)),
            Self::Shortest { .. } => None,
        }
    }
}

impl Channels {
    fn each(self) -> [f64; 3] {
        match self {
            Self::All(value) => [value; 3],
            Self::Each(values) => values,
        }
    }
}

/// What the folder of a checkpoint says; `None` where none was given, or it has no `config.json`.
pub(super) fn read(checkpoint: &Checkpoint) -> Result<Option<TransformersConfig>> {
    let Some(folder) = checkpoint.folder() else { return Ok(None) };
    let path = folder.join(HUB_CONFIG_FILE);
    let Some(config) = parse::<Config>(&path)? else { return Ok(None) };
    let pixels = parse(&folder.join(PREPROCESSOR))?;
    let read = TransformersConfig { path, config, pixels };
    read.check()?;
    Ok(Some(read))
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let bad = |what: String| Error::TransformersConfig { path: path.to_owned(), what };
    let text = read_small(path, MAX_BYTES)?;
    // serde takes a list for an object whose fields have defaults.
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err(bad("it is no JSON object".into()));
    }
    serde_json::from_slice(&text).map(Some).map_err(|e| bad(e.to_string()))
}

impl TransformersConfig {
    fn bad<T>(&self, what: String) -> Result<T> {
        Err(Error::TransformersConfig { path: self.path.clone(), what })
    }

    /// Refuses what would make another network than ours.
    fn check(&self) -> Result<()> {
        let Config { model_type, num_channels, hidden_act, output_stride, layer_norm_eps: eps, .. } = &self.config;
        if model_type != MODEL_TYPE {
            return self.bad(format!("its model_type is {model_type:?}, the weights are those of a `{MODEL_TYPE}`"));
        }
        if *num_channels != 3 {
            return self.bad(format!("num_channels is {num_channels}; only RGB images are segmented"));
        }
        if hidden_act != "relu6" {
            return self.bad(format!("hidden_act is {hidden_act:?}; only `relu6` is supported"));
        }
        if !self.config.tf_padding {
            return self.bad("tf_padding is false; only TensorFlow's padding is supported".into());
        }
        if !self.config.first_layer_is_expansion {
            return self.bad("first_layer_is_expansion is false, which is not supported".into());
        }
        if !OUTPUT_STRIDES.contains(output_stride) {
            return self.bad(format!("output_stride is {output_stride}; it must be 8, 16 or 32"));
        }
        if !eps.is_finite() || *eps <= 0.0 {
            return self.bad(format!("layer_norm_eps is {eps}; it must be positive"));
        }
        Ok(())
    }

    pub(super) fn output_stride(&self) -> usize {
        self.config.output_stride
    }

    /// `_make_divisible` of `modeling_mobilenet_v2.py`, behind its `int(round(…))`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // as Python does
    fn channels(&self, value: f64) -> usize {
        let divisor = self.config.depth_divisible_by.max(1);
        let value = value.round_ties_even();
        let rounded = ((value + divisor as f64 / 2.0) as usize / divisor * divisor).max(self.config.min_depth);
        if (rounded as f64) < 0.9 * value { rounded.saturating_add(divisor) } else { rounded }
    }

    /// Sets what `config.json` knows of the backbone, and compares what the tensors' shapes tell as well.
    #[allow(clippy::cast_precision_loss)] // channels are small
    pub(super) fn backbone(
        &self,
        checkpoint: &Checkpoint,
        backbone: &mut Backbone,
        decisions: &mut Vec<Decision>,
    ) -> Result<()> {
        let Backbone::MobilenetV2(layout) = backbone else { return Ok(()) };
        let Config { depth_multiplier, expand_ratio, finegrained_output, layer_norm_eps, .. } = self.config;
        let scaled = |channels: usize| self.channels(channels as f64 * depth_multiplier);
        let full = MobileNetV2::tensorflow(1.0);
        let differs = |what: &str, told: usize, found: usize| {
            self.bad(format!(
                "depth_multiplier {depth_multiplier} and expand_ratio {expand_ratio} make {told} channels of {what}, \
                 the weights have {found}"
            ))
        };
        if scaled(full.stem) != layout.stem {
            return differs("the stem", scaled(full.stem), layout.stem);
        }
        let mut before = 0;
        for (i, (published, block)) in full.blocks.iter().zip(&layout.blocks).enumerate() {
            let (width, inner) = (scaled(published.width), self.channels(before as f64 * expand_ratio));
            if width != block.width {
                return differs(&format!("block {}", i + 1), width, block.width);
            }
            if let Some(expansion) = block.expansion.filter(|&expansion| expansion != inner) {
                return differs(&format!("block {}'s expansion", i + 1), inner, expansion);
            }
            before = width;
        }
        // The layer before the ImageNet classifier is no part of the model, but tells whether the files belong together.
        let last = if finegrained_output && depth_multiplier < 1.0 { 1280 } else { scaled(1280) };
        let spare = checkpoint.info("mobilenet_v2.conv_1x1.convolution.weight").and_then(|info| info.shape.first());
        if let Some(&found) = spare.filter(|&&found| found != last) {
            return differs("conv_1x1", last, found);
        }
        layout.batch_norm_eps = layer_norm_eps;
        decisions.push(Decision {
            what: "config.json",
            value: MODEL_TYPE.into(),
            because: format!(
                "depth_multiplier {depth_multiplier} and expand_ratio {expand_ratio} agree with the weights; \
                 tf_padding, layer_norm_eps {layer_norm_eps:e}"
            ),
        });
        Ok(())
    }

    /// The class names, where they are more than `LABEL_0`, `LABEL_1`, …
    pub(super) fn labels(&self, classes: usize) -> Result<Option<Labels>> {
        let ids = &self.config.id2label;
        if ids.values().all(|name| name.starts_with("LABEL_")) {
            return Ok(None);
        }
        let name = |class: usize| ids.get(&class.to_string()).cloned();
        let names: Option<Vec<String>> = (0..classes).map(name).collect();
        let Some(names) = names.filter(|_| ids.len() == classes) else {
            return self.bad(format!("id2label has {} names, not one for each of {classes} classes", ids.len()));
        };
        let ignore = u8::try_from(self.config.semantic_loss_ignore_index).ok();
        // "tv/monitor" is "tvmonitor".
        let plain = |name: &String| name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        let plain = |names: &[String]| names.iter().map(plain).collect::<Vec<String>>();
        let wanted = plain(&names);
        let mut known = Labels::BUILTIN.into_iter().filter_map(Labels::builtin);
        let labels = match known.find(|labels| plain(&labels.names) == wanted) {
            Some(labels) => Labels { ignore, ..labels },
            None => Labels {
                background: wanted.first().is_some_and(|name| name == "background").then_some(0),
                names,
                ignore,
                ..Labels::numbered(classes)
            },
        };
        match labels.validate(classes) {
            Ok(()) => Ok(Some(labels)),
            Err(reason) => self.bad(reason),
        }
    }

    /// How a picture becomes the network's input, and what is decided about its size. `None` where no
    /// `preprocessor_config.json` says so.
    pub(super) fn preprocessing(&self, told: Option<(usize, usize)>) -> Result<Option<(Preprocessing, String)>> {
        let Some(pixels) = &self.pixels else { return Ok(None) };
        let path = self.path.with_file_name(PREPROCESSOR);
        let bad = |what: &str| Err(Error::TransformersConfig { path: path.clone(), what: what.into() });
        let or = |flag: Option<bool>| flag.unwrap_or(true);
        let stretch = |height, width| SizeRule::Stretch { height, width };
        let crop = pixels.crop_size.unwrap_or(Sides::Both(224)).exact();
        let size = pixels.size.unwrap_or(Sides::Shortest { shortest_edge: 256 });
        let (rule, because) = match (told, or(pixels.do_center_crop), or(pixels.do_resize)) {
            (Some((height, width)), ..) => (SizeRule::Fit { height, width }, "`input_size`"),
            (None, true, _) => {
                let Some((height, width)) = crop else { return bad("crop_size has no height and width") };
                (
                    SizeRule::Fit { height, width },
                    "crop_size in preprocessor_config.json; the whole picture is fitted into it, not cut",
                )
            }
            (None, false, true) => match size {
                Sides::Shortest { shortest_edge } => {
                    return bad(&format!(
                        "it makes the short side {shortest_edge} and leaves the long one open; \
                         say what pictures are fitted into with `input_size`"
                    ));
                }
                Sides::Both(side) => (stretch(side, side), "size in preprocessor_config.json"),
                Sides::Pair([height, width]) | Sides::Named { height, width } => {
                    (stretch(height, width), "size in preprocessor_config.json")
                }
            },
            (None, false, false) => {
                (SizeRule::Native { height: 1, width: 1 }, "preprocessor_config.json neither resizes nor crops")
            }
        };
        // `(value · factor − mean) / std`, on 0–255.
        let factor = if or(pixels.do_rescale) { pixels.rescale_factor.unwrap_or(1.0 / 255.0) } else { 1.0 };
        let half = || Channels::All(0.5).each();
        let (mean, std) = if or(pixels.do_normalize) {
            (pixels.image_mean.map_or_else(half, Channels::each), pixels.image_std.map_or_else(half, Channels::each))
        } else {
            ([0.0; 3], [1.0; 3])
        };
        #[allow(clippy::cast_possible_truncation)] // pixels are f32
        let on_255 = |values: [f64; 3]| values.map(|value| (value / factor) as f32);
        // Pillow's numbers; that of bilinear is the default.
        let (filter, instead) = match pixels.resample.unwrap_or(2) {
            1 => (Filter::Lanczos, String::new()),
            2 => (Filter::Bilinear, String::new()),
            other => (Filter::Bilinear, format!("; bilinear in place of Pillow's filter {other}")),
        };
        let because = format!("{because}{instead}");
        let mean = on_255(mean);
        Ok(Some((Preprocessing { mean, std: on_255(std), pad_value: mean, size: rule, filter }, because)))
    }

    /// The input's size, where only `config.json` tells it.
    pub(super) fn image_size(&self) -> Option<(usize, usize)> {
        self.config.image_size.exact()
    }
}
