//! `candle-deeplab eval`.

use std::path::PathBuf;

use candle_deeplab::metrics::Trimap;
use candle_deeplab_train::data::Kind;
use clap::{Args, ValueEnum};

use super::number::count;
use super::{ModelArgs, NetworkArgs};

/// More images than any data set has.
const MOST_IMAGES: usize = 1 << 31;
/// Each is a picture of four images.
const MOST_PICTURES: usize = 10_000;

const EXAMPLES: &str = "\
Examples:

    # The mIoU of a model on a folder's validation split (images/val/*.jpg and labels/val/*.png)
    candle-deeplab eval --model run/model --data camvid

    # With all files: report, confusion matrix, scores near borders, the eight worst images
    candle-deeplab eval --model run/model --data camvid --split test --out results --trimap 20 --worst 8

    # As good as it gets on VOC, from its development kit
    candle-deeplab eval --model xception65-voc --data VOCdevkit/VOC2012 --scales 0.5,0.75,1,1.25,1.5,1.75 --flip

    # Other people's label maps
    candle-deeplab eval --predictions theirs --data camvid --split test --json

    # Label maps for Cityscapes' server
    candle-deeplab eval --model run/model --data cityscapes --split test --submission --out results

The scores: IoU of a class = right / (labelled + predicted - right) over all pixels of all images. A class that is neither
labelled nor predicted has none, and mIoU leaves it out; one that is only predicted has 0. Ignored pixels do not count.

Exit codes: 0 done, 2 wrong usage or data, 3 the model could not be fetched, 130 interrupted (with --out, the same command goes
on from there).";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Judge the label maps of this folder, not a model's: PNGs of ids, numbered as the data set's, called as its images
    #[arg(
        long,
        value_name = "FOLDER",
        conflicts_with_all = [
            "model", "device", "output_stride", "scales", "flip", "tile", "dtype", "executor", "submission"
        ]
    )]
    pub(crate) predictions: Option<PathBuf>,

    /// The data set's folder
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    pub(crate) data: PathBuf,

    /// The data set's layout [default: told by its folders]
    #[arg(long, value_enum, help_heading = "Data")]
    pub(crate) kind: Option<KindName>,

    /// The part of the data set
    #[arg(long, value_name = "NAME", default_value = "val", help_heading = "Data")]
    pub(crate) split: String,

    /// The data set's classes: voc, cityscapes, ade20k, ade20k-150, camvid, or a file, one name a line or JSON [default: those
    /// of the layout, of labels.txt or labels.json in the folder, or of the model]
    #[arg(long, value_name = "LABELS", help_heading = "Data")]
    pub(crate) labels: Option<String>,

    /// Judge only the first N images
    #[arg(long, value_name = "N", value_parser = count::<MOST_IMAGES>, help_heading = "Data")]
    pub(crate) limit: Option<usize>,

    /// Write the results into this folder: report.json, confusion.csv and confusion.svg, and what the options below add
    ///
    /// state.jsonl there holds what has been counted: if the command is interrupted, the same command goes on.
    #[arg(short, long, value_name = "FOLDER", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,

    /// Judge the pixels within 1, 2, ... N pixels of a border separately: trimap.csv and trimap.svg
    #[arg(long, value_name = "N", value_parser = count::<{ Trimap::MOST_BANDS }>, help_heading = "Output")]
    pub(crate) trimap: Option<usize>,

    /// Name the N worst images, and with --out draw them: worst/01_NAME.png shows photograph, labels, prediction, mistakes
    #[arg(long, value_name = "N", value_parser = count::<MOST_PICTURES>, help_heading = "Output")]
    pub(crate) worst: Option<usize>,

    /// Write label maps as VOC's or Cityscapes' server takes them into submission/; labels are not needed then
    #[arg(long, requires = "out", help_heading = "Output")]
    pub(crate) submission: bool,

    /// Drop what the folder has from another evaluation, and count all images again
    #[arg(long, requires = "out", help_heading = "Output")]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    /// Print one line of JSON instead of a table
    #[arg(long, conflicts_with = "quiet", help_heading = "Output")]
    pub(crate) json: bool,

    /// Print nothing but errors
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// A layout by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindName {
    /// images/SPLIT/NAME.jpg and labels/SPLIT/NAME.png, or SPLIT/images and SPLIT/labels
    Folder,
    /// PASCAL VOC 2012: JPEGImages, SegmentationClass, ImageSets/Segmentation
    Voc,
    /// leftImg8bit and gtFine
    Cityscapes,
    /// ADEChallengeData2016: images and annotations
    Ade20k,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Folder => Self::Folder,
            KindName::Voc => Self::Voc,
            KindName::Cityscapes => Self::Cityscapes,
            KindName::Ade20k => Self::Ade20k,
        }
    }
}
