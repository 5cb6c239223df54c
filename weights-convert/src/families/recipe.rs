//! What surrounds a network in `config.json`: labels, preprocessing, provenance.

use candle_deeplab::config::{Config, FORMAT_VERSION, Filter, Network, Preprocessing, Provenance, SizeRule};
use candle_deeplab::labels::Labels;

use super::{Decision, Options};
use crate::error::{Error, Result};
use crate::read::Checkpoint;

/// What a family feeds a network.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input {
    /// Subtracted from RGB on 0–255.
    pub(super) mean: [f32; 3],
    /// Divided by then.
    pub(super) std: [f32; 3],
    /// The same in words.
    pub(super) words: &'static str,
    /// What a street scene is padded to, at least.
    pub(super) cityscapes: (usize, usize),
}

/// What surrounds a network of a family.
pub(super) fn config(
    checkpoint: &Checkpoint,
    family: &str,
    network: Network,
    input: Input,
    options: &Options,
    decisions: &mut Vec<Decision>,
) -> Result<Config> {
    let labels = labels(network.classes, options, decisions)?;
    let preprocessing = preprocessing(checkpoint, input, &labels, options, decisions);
    let file_name = checkpoint.path().file_name().unwrap_or_default().to_string_lossy();
    let provenance = Provenance {
        family: family.into(),
        source: file_name.into_owned(),
        format: checkpoint.format().to_string(),
        converter: concat!("weights-convert ", env!("CARGO_PKG_VERSION")).into(),
    };
    let config = Config { format_version: FORMAT_VERSION, network, preprocessing, labels, provenance };
    config.validate().map_err(|reason| Error::Unloadable { path: checkpoint.path().to_owned(), reason })?;
    Ok(config)
}

/// What the classes are called: as told, or the data set whose number of classes this is.
fn labels(classes: usize, options: &Options, decisions: &mut Vec<Decision>) -> Result<Labels> {
    if classes == 0 && options.labels.is_none() {
        return Ok(Labels::numbered(0));
    }
    let (labels, because) = match &options.labels {
        Some(told) => {
            let labels = match Labels::builtin(told) {
                Some(labels) => labels,
                None => Labels::from_file(std::path::Path::new(told))?,
            };
            (labels, "--labels".to_owned())
        }
        None => {
            let known = Labels::BUILTIN.into_iter().filter_map(Labels::builtin);
            match known.into_iter().find(|labels| labels.names.len() == classes) {
                Some(labels) => (labels, format!("it has {classes} classes; --labels to say otherwise")),
                None => (
                    Labels::numbered(classes),
                    format!("no known data set has {classes} classes; name them with --labels"),
                ),
            }
        }
    };
    if let (Err(reason), Some(_)) = (labels.validate(classes), &options.labels) {
        return Err(Error::Flag { flag: "--labels", reason });
    }
    decisions.push(Decision { what: "labels", value: labels.dataset.clone(), because });
    Ok(labels)
}

fn preprocessing(
    checkpoint: &Checkpoint,
    Input { mean, std, words, cityscapes }: Input,
    labels: &Labels,
    options: &Options,
    decisions: &mut Vec<Decision>,
) -> Preprocessing {
    decisions.push(Decision {
        what: "pixels",
        value: words.into(),
        because: "the family's rule for this backbone".into(),
    });
    let fixed = checkpoint.geometry().input_size;
    let size = |default| options.input_size.unwrap_or(default);
    let (rule, filter, because) = match (fixed, labels.dataset.as_str()) {
        (Some(input), _) => {
            let (height, width) = size(input);
            (SizeRule::Stretch { height, width }, Filter::Bilinear, "the graph's input has this size")
        }
        (None, "cityscapes") => {
            let (height, width) = size(cityscapes);
            (
                SizeRule::Native { height, width },
                Filter::Lanczos,
                "the family's rule for Cityscapes; --input-size changes it",
            )
        }
        (None, _) => {
            let (height, width) = size((513, 513));
            (SizeRule::Fit { height, width }, Filter::Lanczos, "the usual training crop; --input-size changes it")
        }
    };
    let because = if options.input_size.is_some() { "--input-size" } else { because };
    let (height, width) = rule.network_size();
    let how = match rule {
        SizeRule::Stretch { .. } => "stretch to",
        SizeRule::Fit { .. } => "fit into",
        SizeRule::Native { .. } => "pad to at least",
    };
    decisions.push(Decision { what: "input", value: format!("{how} {height}×{width}"), because: because.into() });
    Preprocessing { mean, std, pad_value: mean, size: rule, filter }
}
