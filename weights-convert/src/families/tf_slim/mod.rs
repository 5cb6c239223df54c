//! TensorFlow DeepLab (`tensorflow/models`, `research/deeplab`), which builds on TF-Slim's variable scopes: V2 checkpoints,
//! frozen graphs and TFLite files of Xception, MobileNetV2 and ResNet v1 networks.

mod architecture;
mod names;

use candle_deeplab::arch::Stem;
use candle_deeplab::config::{Backbone, Config, FORMAT_VERSION, Filter, Preprocessing, Provenance, SizeRule};
use candle_deeplab::graph::{Op, Param, Role};
use candle_deeplab::labels::Labels;

use super::{Decision, Options, Recipe, Source};
use crate::error::{Error, Result};
use crate::read::Checkpoint;
use architecture::Variables;

/// The name of this family in a provenance.
const FAMILY: &str = "tf_slim";

pub(super) fn recognise(checkpoint: &Checkpoint, options: &Options) -> Result<Recipe> {
    let mut decisions = Vec::new();
    let variables = Variables::find(checkpoint)?;
    decisions.push(Decision {
        what: "family",
        value: FAMILY.into(),
        because: format!("variables under `{}/` and `{}/`", variables.scope, names::LOGITS),
    });
    let network = architecture::network(&variables, options, &mut decisions)?;
    let labels = labels(network.classes, options, &mut decisions)?;
    let preprocessing = preprocessing(&variables, &network.backbone, &labels, options, &mut decisions);

    let graph = network.graph()?;
    let source = |param: Param| {
        let node = graph.node(param.node);
        let depthwise = matches!(node.op, Op::Conv(conv) if conv.groups > 1);
        let scope = names::scope(&node.path, &variables.scope);
        let name = variables.tensor(&scope, param.role, depthwise);
        let layout = variables.layout(param.role, depthwise);
        Source { param, name, layout }
    };
    let sources = graph.params().into_iter().map(source).collect();

    let file_name = checkpoint.path().file_name().unwrap_or_default().to_string_lossy();
    let provenance = Provenance {
        family: FAMILY.into(),
        source: file_name.into_owned(),
        format: checkpoint.format().to_string(),
        converter: concat!("weights-convert ", env!("CARGO_PKG_VERSION")).into(),
    };
    let config = Config { format_version: FORMAT_VERSION, network, preprocessing, labels, provenance };
    Ok(Recipe { config, sources, decisions })
}

/// What the classes are called: as told, or the data set whose number of classes this is.
fn labels(classes: usize, options: &Options, decisions: &mut Vec<Decision>) -> Result<Labels> {
    let (labels, because) = match &options.labels {
        Some(told) => {
            let labels = match Labels::builtin(told) {
                Some(labels) => labels,
                None => Labels::from_file(std::path::Path::new(told))?,
            };
            (labels, "--labels".to_owned())
        }
        None => {
            let known = [Labels::voc(), Labels::cityscapes(), Labels::ade20k()];
            match known.into_iter().find(|labels| labels.names.len() == classes) {
                Some(labels) => (labels, format!("it has {classes} classes; --labels to say otherwise")),
                None => (
                    Labels::numbered(classes),
                    format!("no known data set has {classes} classes; name them with --labels"),
                ),
            }
        }
    };
    if let Err(reason) = labels.validate(classes) {
        let told = options.labels.clone().unwrap_or_default();
        return Err(Error::Labels { labels: told, reason });
    }
    decisions.push(Decision { what: "labels", value: labels.dataset.clone(), because });
    Ok(labels)
}

/// `deeplab/core/feature_extractor.py`: every backbone scales to [−1, 1] but the plain ResNets, which subtract a mean.
fn preprocessing(
    variables: &Variables,
    backbone: &Backbone,
    labels: &Labels,
    options: &Options,
    decisions: &mut Vec<Decision>,
) -> Preprocessing {
    let (mean, std, value) = match backbone {
        Backbone::Resnet(layout) if matches!(layout.stem, Stem::Single { .. }) => {
            ([123.15, 115.90, 103.06], [1.0; 3], "RGB − mean pixel")
        }
        _ => ([127.5; 3], [127.5; 3], "RGB / 127.5 − 1"),
    };
    decisions.push(Decision {
        what: "pixels",
        value: value.into(),
        because: "the code base's rule for this backbone".into(),
    });

    let fixed = variables.checkpoint.geometry().input_size;
    let size = |default| options.input_size.unwrap_or(default);
    let (rule, filter, because) = match (fixed, labels.dataset.as_str()) {
        (Some(input), _) => {
            let (height, width) = size(input);
            (SizeRule::Stretch { height, width }, Filter::Bilinear, "the graph's input has this size")
        }
        (None, "cityscapes") => {
            let (height, width) = size((1025, 2049));
            (
                SizeRule::Native { height, width },
                Filter::Lanczos,
                "the Cityscapes models' crop; --input-size changes it",
            )
        }
        (None, _) => {
            let (height, width) = size((513, 513));
            (SizeRule::Fit { height, width }, Filter::Lanczos, "the code base's crop; --input-size changes it")
        }
    };
    let (height, width) = rule.network_size();
    let how = match rule {
        SizeRule::Stretch { .. } => "stretch to",
        SizeRule::Fit { .. } => "fit into",
        SizeRule::Native { .. } => "pad to at least",
    };
    decisions.push(Decision { what: "input", value: format!("{how} {height}×{width}"), because: because.into() });
    Preprocessing { mean, std, pad_value: mean, size: rule, filter }
}

impl Variables<'_> {
    /// The name in the file of a layer's tensor.
    fn tensor(&self, scope: &str, role: Role, depthwise: bool) -> String {
        let kernel = format!("{scope}/{}", if depthwise { names::DEPTHWISE_KERNEL } else { names::KERNEL });
        match role {
            Role::Kernel => kernel,
            // TFLite names a bias after the operation that a layer ended in; the graph says which one it is.
            // TFLite names a bias after the operation that a layer ended in; the graph says which one it is.
            Role::Bias => match self.checkpoint.geometry().biases.get(&kernel) {
                Some(bias) => bias.clone(),
                None => format!("{scope}/{}", names::BIAS),
            },
            Role::Gamma => format!("{scope}/BatchNorm/gamma"),
            Role::Beta => format!("{scope}/BatchNorm/beta"),
            Role::Mean => format!("{scope}/BatchNorm/moving_mean"),
            Role::Variance => format!("{scope}/BatchNorm/moving_variance"),
        }
    }
}
