//! `candle-deeplab dataset`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::OutputArgs;
use super::eval::KindName;
use super::number::{count, size};

/// The most pictures of one call.
const MOST_PICTURES: usize = 100_000;

const EXAMPLES: &str = "\
Examples:

    # Whether all is well with a folder (images/SPLIT/*.jpg and labels/SPLIT/*.png), and how frequent each class is
    candle-deeplab dataset check camvid

    # What a network sees of it in training
    candle-deeplab dataset browse camvid -o look --crop 360x480 --photometric
    candle-deeplab dataset browse --config configs/camvid.toml camvid -o look

    # Label files in colours become label files of ids, which training takes
    candle-deeplab dataset convert colors/ -o labels/train --to ids --labels camvid

    # Cityscapes' …_labelIds.png become …_labelTrainIds.png beside them, for other programs
    candle-deeplab dataset convert gtFine -o gtFine --to train-ids";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DatasetArgs {
    #[command(subcommand)]
    pub(crate) command: DatasetCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Look through a data set: images, sizes, classes, and all that is wrong
    ///
    /// Every file is decoded. It ends with 1 if anything is wrong, and lists it.
    Check(DatasetCheckArgs),
    /// Draw what a network sees of a data set: augmented samples, and beside them the same with their labels
    Browse(DatasetBrowseArgs),
    /// Convert label files: colours to ids and back, Cityscapes' label ids to train ids and back
    ///
    /// A file that cannot be converted is said, and the others go on; it ends with 1 then.
    Convert(DatasetConvertArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LayoutArgs {
    /// The data set's layout [default: told by its folders]
    #[arg(long, value_enum)]
    pub(crate) kind: Option<KindName>,

    /// The classes: voc, cityscapes, ade20k, ade20k-150, camvid, or a file of names, one a line or as JSON [default: the
    /// layout's, or labels.json or labels.txt in the folder]
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) labels: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DatasetCheckArgs {
    /// The folder of the data set
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// Only this split; it may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) split: Vec<String>,

    #[command(flatten)]
    pub(crate) layout: LayoutArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DatasetBrowseArgs {
    /// The folder of the data set [default: the recipe's `data.dir`]
    #[arg(value_name = "DIR", required_unless_present = "config")]
    pub(crate) dir: Option<PathBuf>,

    /// The folder for the pictures; it is made where it is missing
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: PathBuf,

    /// A training recipe, whose samples are drawn as training would take them; the options below change it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The split
    #[arg(long, value_name = "NAME", default_value = "train")]
    pub(crate) split: String,

    /// How many samples, in the order of training
    #[arg(short = 'n', long, value_name = "N", default_value = "16", value_parser = count::<MOST_PICTURES>)]
    pub(crate) count: usize,

    /// The seed of the order and of the augmentation [default: the recipe's, or 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Height and width of the crop [default: the recipe's, or 513x513]
    #[arg(long, value_name = "HxW", value_parser = size, help_heading = "Augmentation")]
    pub(crate) crop: Option<(usize, usize)>,

    /// The least and the largest scale, e.g. 0.5,2 [default: the recipe's, or 0.5,2]
    #[arg(long, value_name = "MIN,MAX", value_parser = scales, help_heading = "Augmentation")]
    pub(crate) scale: Option<(f64, f64)>,

    /// The distance of possible scales [default: the recipe's, or any scale between]
    #[arg(long, value_name = "STEP", help_heading = "Augmentation")]
    pub(crate) scale_step: Option<f64>,

    /// The share of a crop that one class may cover [default: the recipe's, or 0.75]
    #[arg(long, value_name = "SHARE", help_heading = "Augmentation")]
    pub(crate) cat_max_ratio: Option<f64>,

    /// How often left and right are exchanged, from 0 to 1 [default: the recipe's, or 0.5]
    #[arg(long, value_name = "SHARE", help_heading = "Augmentation")]
    pub(crate) flip: Option<f64>,

    /// Change brightness, contrast, saturation and hue as mmsegmentation does [default: as the recipe says]
    #[arg(long, help_heading = "Augmentation")]
    pub(crate) photometric: bool,

    #[command(flatten)]
    pub(crate) layout: LayoutArgs,

    /// Replace pictures that are already there
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) report: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DatasetConvertArgs {
    /// Label files, or folders of them; folders in folders are kept
    #[arg(value_name = "INPUT", required = true)]
    pub(crate) inputs: Vec<PathBuf>,

    /// The folder for the results, PNG files of the same names; it is made where it is missing
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: PathBuf,

    /// What to make of them
    #[arg(long, value_name = "FORM", value_enum)]
    pub(crate) to: Form,

    /// The classes, with their colours: voc, cityscapes, ade20k, ade20k-150, camvid, or a file of names, one a line (they
    /// get VOC's colours) or as JSON with a palette
    #[arg(long, value_name = "NAME|FILE", required_if_eq_any([("to", "ids"), ("to", "colors")]))]
    pub(crate) labels: Option<String>,

    /// A file of other colours for the classes, one a line, as #rrggbb or as `red green blue` from 0 to 255
    #[arg(long, value_name = "FILE", requires = "labels")]
    pub(crate) palette: Option<PathBuf>,

    /// Replace files that are already there
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) report: OutputArgs,
}

/// A way of writing classes into label files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Colours become ids: indices into a palette of the same colours
    Ids,
    /// Ids become colours
    Colors,
    /// Cityscapes' label ids (…_labelIds.png) become train ids (…_labelTrainIds.png)
    TrainIds,
    /// Cityscapes' train ids become label ids
    LabelIds,
}

fn scales(text: &str) -> Result<(f64, f64), String> {
    let (least, most) = text.split_once(',').unwrap_or((text, text));
    let scales = least.trim().parse().ok().zip(most.trim().parse().ok());
    let possible = scales.filter(|(least, most): &(f64, f64)| *least > 0.0 && least <= most && *most <= 16.0);
    possible.ok_or_else(|| "it must be the least and the largest scale, e.g. 0.5,2, of at most 16".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_two_numbers_in_order() {
        assert_eq!((scales("0.5,2"), scales("1")), (Ok((0.5, 2.0)), Ok((1.0, 1.0))));
        assert!(["", "0,1", "2,1", "x", "1,17", "nan,1"].into_iter().all(|text| scales(text).is_err()));
    }
}
