//! Whose label maps are judged.

use candle_deeplab::graph::Size;
use candle_deeplab::segment::{Segmented, Wanted};
use candle_deeplab::{LabelMap, Labels, Segmenter};
use image::{GrayImage, RgbImage};

use super::pairs::Pairs;
use super::predictions::Predictions;
use crate::data::{IGNORE, Pair};
use crate::error::{Error, Result};

/// Where the label maps that are judged come from.
#[derive(Debug, Clone, Copy)]
pub enum Judged<'a> {
    /// A network makes them.
    Network(&'a Segmenter),
    /// They are in files.
    Predictions(&'a Predictions),
}

/// An image as far as it is needed for a label map that is judged.
pub(super) enum Question {
    /// The network has to see it.
    Image(RgbImage),
    /// Somebody has answered.
    Answered(LabelMap),
}

/// A label map that is judged.
pub(super) struct Answer {
    pub(super) map: LabelMap,
    /// Whether memory made it necessary to cut the image into tiles.
    pub(super) tiled: bool,
}

impl Judged<'_> {
    /// Checks, before anything that takes time, that the answers can be compared with the data's labels.
    ///
    /// # Errors
    /// [`Error::Data`] that names what differs.
    pub(super) fn check(&self, pairs: &dyn Pairs, data: &str) -> Result<()> {
        match self {
            Self::Network(segmenter) => check_labels(segmenter.labels(), pairs.labels(), data),
            Self::Predictions(_) => Ok(()),
        }
    }

    /// Reads an image or a prediction, and the right answer.
    pub(super) fn read(&self, pairs: &dyn Pairs, index: usize) -> Result<(Question, GrayImage)> {
        match self {
            Self::Network(_) => {
                let Pair { image, labels } = pairs.read(index)?;
                if image.dimensions() != labels.dimensions() {
                    let ((width, height), (columns, rows)) = (image.dimensions(), labels.dimensions());
                    let reason = format!("the image has {width}×{height} pixels, and its label map {columns}×{rows}");
                    return Err(Error::data(pairs.name(index), reason));
                }
                Ok((Question::Image(image), labels))
            }
            Self::Predictions(predictions) => {
                let labels = pairs.read_labels(index)?;
                Ok((Question::Answered(prediction(predictions, pairs, index, &labels)?), labels))
            }
        }
    }

    /// The same for an image that has been read.
    pub(super) fn question(
        &self,
        pairs: &dyn Pairs,
        index: usize,
        image: &RgbImage,
        labels: &GrayImage,
    ) -> Result<Question> {
        match self {
            Self::Network(_) => Ok(Question::Image(image.clone())),
            Self::Predictions(predictions) => Ok(Question::Answered(prediction(predictions, pairs, index, labels)?)),
        }
    }

    /// Answers, with all cores.
    pub(super) fn answer(&self, question: Question) -> Result<Answer> {
        match (self, question) {
            (Self::Network(segmenter), Question::Image(image)) => {
                let Segmented { segmentation, tiled, .. } = segmenter.run(image, Wanted::LabelMap)?;
                Ok(Answer { map: segmentation.label_map().clone(), tiled: tiled.is_some() })
            }
            (_, Question::Answered(map)) => Ok(Answer { map, tiled: false }),
            (Self::Predictions(_), Question::Image(_)) => {
                // `read` never asks a folder.
                Err(candle_deeplab::Error::Metrics("an image without a prediction".into()).into())
            }
        }
    }
}

/// A prediction, which has to be as large as the labels and to hold classes only.
fn prediction(predictions: &Predictions, pairs: &dyn Pairs, index: usize, labels: &GrayImage) -> Result<LabelMap> {
    let path =
        predictions.path(index).ok_or_else(|| Error::data(pairs.name(index), "its prediction was not looked for"))?;
    let map = pairs.read_prediction(path)?;
    let ((width, height), (columns, rows)) = (labels.dimensions(), map.dimensions());
    if (width, height) != (columns, rows) {
        let reason = format!(
            "the prediction has {columns}×{rows} pixels, and the label map {width}×{height}: predictions are judged at the \
             labels' size, so enlarge the scores, or the ids by nearest neighbours"
        );
        return Err(Error::data(path, reason));
    }
    let classes = pairs.labels().names.len();
    let judged = labels.iter().zip(map.iter()).filter(|(label, _)| **label != IGNORE).map(|(_, id)| *id);
    if let Some(id) = judged.into_iter().find(|id| usize::from(*id) >= classes) {
        let what = if id == IGNORE { "an ignored id".to_owned() } else { format!("id {id}") };
        let reason = format!(
            "{what} is predicted where the label is a class, and only the {classes} classes can be judged: give every pixel a class"
        );
        return Err(Error::data(path, reason));
    }
    Ok(LabelMap::new(map.into_raw(), Size::new(height as usize, width as usize))?)
}

/// Whether a network's classes are those of the data.
fn check_labels(model: &Labels, data: &Labels, dir: &str) -> Result<()> {
    let (ours, theirs) = (model.names.len(), data.names.len());
    if ours != theirs {
        let reason = format!(
            "its labels (`{}`) have {theirs} classes, and the model's (`{}`) {ours}: choose a model for these classes, or \
             name the data's labels with `--labels`",
            data.dataset, model.dataset
        );
        return Err(Error::data(dir, reason));
    }
    // Placeholders say nothing about the classes.
    let known = |labels: &Labels| labels.names != Labels::numbered(labels.names.len()).names;
    let same = |(a, b): (&String, &String)| plain(a) == plain(b);
    let differing = model.names.iter().zip(&data.names).position(|names| !same(names));
    match differing {
        Some(class) if known(model) && known(data) => {
            let reason = format!(
                "class {class} is `{}` in its labels (`{}`) and `{}` in the model's (`{}`): choose a model for these classes, \
                 or, if they only have other names, name the model's with `--labels`",
                data.names[class], data.dataset, model.names[class], model.dataset
            );
            Err(Error::data(dir, reason))
        }
        _ => Ok(()),
    }
}

/// A name without case, spaces and punctuation, in which data sets' authors differ.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classes_must_be_the_datas() {
        let check =
            |model: Labels, data: Labels| check_labels(&model, &data, "data").map_err(|error| error.to_string());
        let renamed = |names: &[&str]| Labels {
            names: names.iter().map(|name| (*name).into()).collect(),
            ..Labels::numbered(names.len())
        };
        assert_eq!(check(Labels::voc(), Labels::voc()), Ok(()));
        let said = check(Labels::voc(), Labels::cityscapes()).unwrap_err();
        assert!(said.contains("(`cityscapes`) have 19") && said.contains("(`voc`) 21"), "{said}");
        assert_eq!(check(renamed(&["traffic light", "Car"]), renamed(&["traffic_light", "car"])), Ok(()));
        let said = check(renamed(&["car", "bus"]), renamed(&["car", "truck"])).unwrap_err();
        assert!(said.contains("class 1 is `truck` in its labels") && said.contains("`bus` in the model's"), "{said}");
        // One of them has no names.
        assert_eq!(check(Labels::numbered(21), Labels::voc()), Ok(()));
        assert_eq!(check(Labels::voc(), Labels::numbered(21)), Ok(()));
    }
}
