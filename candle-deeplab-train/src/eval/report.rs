//! The result of an evaluation.

use candle_deeplab::Labels;
use candle_deeplab::metrics::{Band, ClassScores, Confusion, Trimap};
use candle_deeplab::segment;
use serde::{Deserialize, Serialize};

use super::count::Counted;
use crate::error::{Error, Result};

/// The result of an evaluation: how well label maps agree with those of a data set.
///
/// Scores are shares from 0 to 1. A class that is neither in the ground truth nor predicted has no IoU, and the mean leaves
/// it out; one that is only predicted has an IoU of 0: see [`candle_deeplab::metrics`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The mean of the classes' IoUs.
    pub miou: f64,
    /// The share of all judged pixels that are right.
    pub pixel_accuracy: f64,
    /// The mean of the classes' accuracies, over those in the ground truth.
    pub mean_accuracy: f64,
    /// The classes' IoUs, weighted by their pixels in the ground truth.
    pub fw_iou: f64,
    /// The mean of the classes' precisions, over those that are predicted.
    pub mean_precision: f64,
    /// The mean of the classes' F1 scores (Dice).
    pub mean_f1: f64,
    /// The scores of each class.
    pub classes: Vec<Class>,
    /// Pixels that were judged: all but the ignored ones.
    pub pixels: u64,
    /// Images that were judged.
    pub images: usize,
    /// Images that were cut into tiles since they would not have fit into memory, which changes scores a little.
    pub tiled: usize,
    /// How long it took, in seconds, from reading to counting, without loading the model. If the evaluation was
    /// interrupted, all its parts count.
    pub seconds: f64,
    /// What was evaluated, and how.
    #[serde(flatten)]
    pub about: About,
    /// Scores near the borders of regions, from the narrowest band to the widest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trimap: Vec<BandScores>,
    /// The images with the least mIoU, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worst: Vec<ImageScores>,
}

/// What was evaluated, and how. An interrupted evaluation goes on only if all of it is the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The model as it was named, or the folder of the predictions.
    pub model: String,
    /// The SHA-256 of the model's files, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The data set's folder.
    pub data: String,
    /// The part of the data set, e.g. `val`.
    pub split: String,
    /// How the model was run; nothing where there were only predictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<How>,
}

/// How a model was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct How {
    /// The output stride, if not the model's own.
    pub output_stride: Option<usize>,
    /// The numbers that the network computes in, e.g. `f32`.
    pub dtype: String,
    /// The scales at which the network saw each image.
    pub scales: Vec<f64>,
    /// Whether it saw the mirror image, too.
    pub flip: bool,
    /// Height, width and overlap of the tiles that images were cut into.
    pub tiles: Option<[usize; 3]>,
    /// The device, e.g. `cpu`.
    pub device: String,
    /// The fused executor's instructions, e.g. `avx2`, or `eager`.
    pub executor: String,
}

/// The scores of a class; those with a denominator of 0 do not exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// The name.
    pub name: String,
    /// Intersection over union.
    pub iou: Option<f64>,
    /// The share of its pixels that are found (recall).
    pub accuracy: Option<f64>,
    /// The share of the pixels predicted as it that are right.
    pub precision: Option<f64>,
    /// The harmonic mean of both (Dice).
    pub f1: Option<f64>,
    /// Its pixels in the ground truth.
    pub pixels: u64,
    /// The pixels that are predicted as it.
    pub predicted: u64,
}

/// The scores of the pixels near a border.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BandScores {
    /// The greatest distance to a pixel with another label, in pixels.
    pub width: u32,
    /// The mean of the classes' IoUs; nothing where the band has no pixels.
    pub miou: Option<f64>,
    /// The share of the pixels that are right.
    pub pixel_accuracy: Option<f64>,
    /// Pixels in the band.
    pub pixels: u64,
}

/// The scores of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageScores {
    /// The image's name.
    pub name: String,
    /// The mean IoU of the classes that are in the image or predicted in it.
    pub miou: f64,
    /// The share of its judged pixels that are right.
    pub pixel_accuracy: f64,
}

impl How {
    /// How a segmenter with these options runs on a device, with an executor.
    pub fn new(options: &segment::Options, device: impl Into<String>, executor: impl Into<String>) -> Self {
        let tiles = |tiles: segment::Tiles| [tiles.size().height, tiles.size().width, tiles.overlap()];
        Self {
            output_stride: options.output_stride,
            dtype: options.precision.to_string(),
            scales: if options.scales.is_empty() { vec![1.0] } else { options.scales.clone() },
            flip: options.flip,
            tiles: options.tiles.map(tiles),
            device: device.into(),
            executor: executor.into(),
        }
    }
}

impl Class {
    fn new(name: String, scores: ClassScores) -> Self {
        let ClassScores { labelled, predicted, iou, accuracy, precision, f1, .. } = scores;
        Self { name, iou, accuracy, precision, f1, pixels: labelled, predicted }
    }
}

impl BandScores {
    fn new(Band { width, confusion }: Band) -> Self {
        let (miou, pixel_accuracy) = (confusion.miou(), confusion.pixel_accuracy());
        Self { width, miou, pixel_accuracy, pixels: confusion.pixels() }
    }
}

impl ImageScores {
    /// The scores of an image; nothing where none of its pixels is judged.
    pub(super) fn new(name: &str, confusion: &Confusion) -> Option<Self> {
        let (miou, pixel_accuracy) = (confusion.miou()?, confusion.pixel_accuracy()?);
        Some(Self { name: name.to_owned(), miou, pixel_accuracy })
    }
}

/// The sums of an evaluation.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    pub(super) confusion: Confusion,
    pub(super) trimap: Option<Trimap>,
    pub(super) images: Vec<(usize, ImageScores)>,
    pub(super) count: usize,
    tiled: usize,
    seconds: f64,
}

impl Sums {
    pub(super) fn new(classes: usize, widths: &[u32]) -> Result<Self> {
        let trimap = if widths.is_empty() { None } else { Some(Trimap::new(classes, widths)?) };
        Ok(Self { confusion: Confusion::new(classes)?, trimap, images: vec![], count: 0, tiled: 0, seconds: 0.0 })
    }

    /// Adds what was counted in image number `index`.
    pub(super) fn add(&mut self, index: usize, counted: &Counted) -> Result<()> {
        self.confusion.merge(&counted.confusion)?;
        if let (Some(sum), Some(trimap)) = (&mut self.trimap, &counted.trimap) {
            sum.merge(trimap)?;
        }
        self.images.extend(ImageScores::new(&counted.name, &counted.confusion).map(|scores| (index, scores)));
        self.count += 1;
        self.tiled += usize::from(counted.tiled);
        self.seconds += counted.seconds;
        Ok(())
    }

    /// The images with the least mIoU, the worst first.
    pub(super) fn worst(&self, most: usize) -> Vec<(usize, ImageScores)> {
        let mut images = self.images.clone();
        images.sort_by(|(a_index, a), (b_index, b)| {
            let scores = a.miou.total_cmp(&b.miou).then(a.pixel_accuracy.total_cmp(&b.pixel_accuracy));
            scores.then(a_index.cmp(b_index))
        });
        images.truncate(most);
        images
    }

    pub(super) fn report(&self, labels: &Labels, about: About, worst: usize) -> Result<Report> {
        let sums = &self.confusion;
        let nothing = || {
            let reason = format!(
                "split `{}`: none of the pixels has a label of a class, so there is nothing to judge",
                about.split
            );
            Error::data(&about.data, reason)
        };
        let all = (sums.miou(), sums.pixel_accuracy(), sums.mean_accuracy(), sums.frequency_weighted_iou());
        let (Some(miou), Some(pixel_accuracy), Some(mean_accuracy), Some(fw_iou)) = all else { return Err(nothing()) };
        let (Some(mean_precision), Some(mean_f1)) = (sums.mean_precision(), sums.mean_f1()) else {
            return Err(nothing());
        };
        let bands = self.trimap.as_ref().map_or(Ok(vec![]), Trimap::bands)?;
        let class = |(name, scores): (&String, ClassScores)| Class::new(name.clone(), scores);
        Ok(Report {
            miou,
            pixel_accuracy,
            mean_accuracy,
            fw_iou,
            mean_precision,
            mean_f1,
            classes: labels.names.iter().zip(sums.per_class()).map(class).collect(),
            pixels: sums.pixels(),
            images: self.count,
            tiled: self.tiled,
            seconds: self.seconds,
            about,
            trimap: bands.into_iter().map(BandScores::new).collect(),
            worst: self.worst(worst).into_iter().map(|(_, scores)| scores).collect(),
        })
    }
}
