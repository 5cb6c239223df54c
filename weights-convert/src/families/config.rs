//! What surrounds a network in `config.json`: labels, preprocessing, provenance.

use candle_deeplab::config::{Config, FORMAT_VERSION, Filter, Network, Preprocessing, Provenance, SizeRule};
use candle_deeplab::labels::Labels;

use super::conventions::Input;
use super::network::Known;
use super::transformers_config::TransformersConfig;
use crate::decision::Decision;
use crate::error::{Error, Result};
use crate::read::{Checkpoint, InputScale};
use crate::version::CONVERTER;

/// The whole `config.json` of a network.
pub(super) fn config(
    checkpoint: &Checkpoint,
    family: &str,
    network: Network,
    input: Input,
    known: Known,
    decisions: &mut Vec<Decision>,
) -> Result<Config> {
    let labels = labels(network.classes, known, decisions)?;
    let preprocessing = preprocessing(checkpoint, input, &labels, known, decisions)?;
    let file_name = checkpoint.path().file_name().unwrap_or_default().to_string_lossy();
    let provenance = Provenance {
        family: family.into(),
        source: file_name.into_owned(),
        format: checkpoint.format().to_string(),
        converter: CONVERTER.into(),
    };
    let config = Config { format_version: FORMAT_VERSION, network, preprocessing, labels, provenance };
    config.validate().map_err(|reason| Error::Unloadable { path: checkpoint.path().to_owned(), reason })?;
    Ok(config)
}

/// The names of the classes: as the user or the folder says, or those of the data set with this number of classes.
fn labels(classes: usize, known: Known, decisions: &mut Vec<Decision>) -> Result<Labels> {
    let Known { options, folder, .. } = known;
    if classes == 0 && options.labels.is_none() {
        return Ok(Labels::numbered(0));
    }
    let named = folder.filter(|_| options.labels.is_none()).map(|folder| folder.labels(classes)).transpose()?.flatten();
    let (labels, because) = match (&options.labels, named) {
        (None, Some(labels)) => (labels, "id2label in config.json".to_owned()),
        (Some(told), _) => {
            let labels = match Labels::builtin(told) {
                Some(labels) => labels,
                None if std::path::Path::new(told).exists() => Labels::from_file(std::path::Path::new(told))?,
                None => {
                    let reason = format!("`{told}` is neither a file nor one of {}", Labels::BUILTIN.join(", "));
                    return Err(Error::Option { option: "labels", reason });
                }
            };
            (labels, "`labels`".to_owned())
        }
        (None, None) => {
            let known = Labels::BUILTIN.into_iter().filter_map(Labels::builtin);
            match known.into_iter().find(|labels| labels.names.len() == classes) {
                Some(labels) => (labels, format!("it has {classes} classes; `labels` to say otherwise")),
                None => (
                    Labels::numbered(classes),
                    format!("no known data set has {classes} classes; name them with `labels`"),
                ),
            }
        }
    };
    if let (Err(reason), Some(_)) = (labels.validate(classes), &options.labels) {
        return Err(Error::Option { option: "labels", reason });
    }
    decisions.push(Decision { what: "labels", value: labels.dataset.clone(), because });
    Ok(labels)
}

fn preprocessing(
    checkpoint: &Checkpoint,
    Input { mean, std, words, cityscapes }: Input,
    labels: &Labels,
    known: Known,
    decisions: &mut Vec<Decision>,
) -> Result<Preprocessing> {
    let Known { options, folder, .. } = known;
    if let Some((told, because)) = folder.map(|folder| folder.preprocessing(options.input_size)).transpose()?.flatten()
    {
        decisions.push(Decision {
            what: "pixels",
            value: format!("(RGB − {:?}) / {:?}", told.mean, told.std),
            because: "preprocessor_config.json".into(),
        });
        decisions.push(Decision { what: "input", value: in_words(told.size), because });
        return Ok(told);
    }
    let (mean, std) = match checkpoint.geometry().input_scale {
        None => {
            let because = "the family's rule for this backbone".into();
            decisions.push(Decision { what: "pixels", value: words.into(), because });
            (mean, std)
        }
        Some(input) => {
            let InputScale { scale, zero_point, .. } = input;
            let (mean, std) = (input.mean(), input.std());
            let because = format!(
                "the file's input: integers of scale {scale} and zero point {zero_point}; the family's rule is {words}"
            );
            decisions.push(Decision { what: "pixels", value: format!("(RGB − {mean}) / {std}"), because });
            ([mean; 3], [std; 3])
        }
    };
    let fixed = checkpoint.geometry().input_size;
    let size = |default| options.input_size.unwrap_or(default);
    let told = folder.and_then(TransformersConfig::image_size);
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
                "the family's rule for Cityscapes; `input_size` changes it",
            )
        }
        (None, _) if told.is_some() => {
            let (height, width) = size(told.unwrap_or_default());
            (SizeRule::Fit { height, width }, Filter::Lanczos, "image_size in config.json; `input_size` changes it")
        }
        (None, _) => {
            let (height, width) = size((513, 513));
            (SizeRule::Fit { height, width }, Filter::Lanczos, "the usual training crop; `input_size` changes it")
        }
    };
    let because = if options.input_size.is_some() { "`input_size`" } else { because };
    decisions.push(Decision { what: "input", value: in_words(rule), because: because.into() });
    Ok(Preprocessing { mean, std, pad_value: mean, size: rule, filter })
}

fn in_words(rule: SizeRule) -> String {
    let (height, width) = rule.network_size();
    let how = match rule {
        SizeRule::Stretch { .. } => "stretch to",
        SizeRule::Fit { .. } => "fit into",
        SizeRule::Native { .. } => "pad to at least",
    };
    format!("{how} {height}×{width}")
}
