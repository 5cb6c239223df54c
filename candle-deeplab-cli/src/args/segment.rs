//! `candle-deeplab segment`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{EncodingArgs, ModelArgs, NetworkArgs, StyleArgs};

const EXAMPLES: &str = "\
Examples:

    # One photograph; writes photo.overlay.jpg here
    candle-deeplab segment photo.jpg --model xception65-voc

    # A folder, with all in it, into another
    candle-deeplab segment photos -o out --model xception65-voc

    # Several files of each, with a legend in the pictures
    candle-deeplab segment 'trip/*.jpg' --format overlay,mask,geojson --legend -o out --model xception65-voc

    # Only people, cut out of the picture
    candle-deeplab segment photo.jpg --cutout person --model xception65-voc

    # As good as it gets, and slow
    candle-deeplab segment photo.jpg --output-stride 8 --scales 0.5,0.75,1,1.25,1.5,1.75 --flip --model xception65-voc

    # A million photographs on four machines that share a folder: this is the first of four
    candle-deeplab segment photos -o out --format mask --shard 0/4 --resume

    # The picture to another program
    candle-deeplab segment photo.jpg -o - --model xception65-voc | display

    # A video, a webcam for ten seconds, and what is in a video frame by frame (all need the program ffmpeg)
    candle-deeplab segment film.mp4 --model xception65-voc
    candle-deeplab segment /dev/video0 --seconds 10 -o me.mp4 --model xception65-voc
    candle-deeplab segment film.mp4 --format mask,json --model xception65-voc

Exit codes: 0 everything was done, 1 some or all inputs failed or had nothing to cut out, 2 wrong usage, nothing was
begun, 3 the model could not be fetched, 130 interrupted.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SegmentArgs {
    /// Images, folders, patterns such as 'trip/*.jpg', http(s) addresses, videos, streams (rtsp://...), a camera
    /// (/dev/video0); - reads one image from standard input
    ///
    /// Images are JPEG, PNG, WebP, BMP, TIFF or GIF, AVIF where ffmpeg is installed, and are turned upright as their EXIF
    /// data say. Of a folder all images and videos are taken, also in folders within it, except what this program has
    /// written (NAME.overlay.png and so on) and hidden files. A GIF that moves is a video. A video keeps its frame rate and
    /// its sound; odd sides get a row or column more, since players want even ones.
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// The file to write, or the folder for all files [default: the current directory]; - writes to standard output
    ///
    /// A file is called after its input and its format: photo.jpg becomes photo.overlay.jpg. What lies in folders within
    /// an input folder goes into folders of the same names. Where two inputs would give one file (a.jpg and a.png), both
    /// keep their extension: a.jpg.overlay.png. Where two have the same name (a/x.jpg and b/x.jpg), all inputs go into
    /// folders of the same names below the folder that holds them all. To standard output goes the one output of one
    /// input, and what is said about it to standard error.
    #[arg(short, long, value_name = "PATH", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,

    /// What to write, one or several with commas between them [default: overlay, or only the cutout with --cutout]
    #[arg(long, value_name = "FORMAT", value_enum, value_delimiter = ',', help_heading = "Output")]
    pub(crate) format: Vec<Format>,

    /// Let npy hold the probability of each class at each pixel, f32 [height, width, classes], and rle's score be the mean
    /// probability of the class over its pixels
    #[arg(long, help_heading = "Output")]
    pub(crate) probs: bool,

    /// Keep only these classes, by name or by id, e.g. person,dog or 15,12; the rest becomes background
    #[arg(long, value_name = "CLASSES", value_delimiter = ',', help_heading = "Output")]
    pub(crate) classes: Vec<String>,

    #[command(flatten)]
    pub(crate) style: StyleArgs,

    /// Write the pixels of these classes, by name or by id, before a transparent background, with a soft edge, as
    /// NAME.cutout.png (of a video NAME.cutout.webm)
    ///
    /// An image that has none of them gets no cutout, and counts as one that failed.
    #[arg(long, value_name = "CLASSES", value_delimiter = ',', help_heading = "Output")]
    pub(crate) cutout: Vec<String>,

    #[command(flatten)]
    pub(crate) encoding: EncodingArgs,

    /// Segment what is there of a damaged image, instead of refusing it
    ///
    /// What is missing is of one colour, or what the decoder makes of it. It is said in the text, with --json in `damaged`,
    /// and so in the files of --format json.
    #[arg(long, help_heading = "Input")]
    pub(crate) lenient: bool,

    /// Replace outputs that are there already
    #[arg(long, help_heading = "Output")]
    pub(crate) force: bool,

    /// Go on where an earlier run was stopped: outputs that are there already are left as they are, and images that have
    /// all of theirs are not segmented again
    #[arg(long, conflicts_with = "force", help_heading = "Output")]
    pub(crate) resume: bool,

    /// Do one of N parts of the work, numbered from 0, e.g. 2/8; all parts together write what one run would
    ///
    /// Which part an input belongs to depends on its name below the folder alone, so that processes that know nothing of each
    /// other can have a part each, also while files are added (but not with `--format rle`, whose numbers of images come from the
    /// whole folder). With a Kubernetes Job of N completions:
    /// --shard $(JOB_COMPLETION_INDEX)/N --resume
    #[arg(long, value_name = "I/N", value_parser = shard, help_heading = "Input")]
    pub(crate) shard: Option<(u64, u64)>,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    /// Stop a video, a stream or a camera after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Video")]
    pub(crate) seconds: Option<f64>,

    /// Print one line of JSON for each image instead of text
    #[arg(long, conflicts_with = "quiet", help_heading = "Output")]
    pub(crate) json: bool,

    /// Print nothing but errors
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// What is made of a segmentation; its name is part of the output's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// The photograph with the classes' colours over it, their outlines and names
    Overlay,
    /// An indexed PNG: class ids with the data set's colours as the palette; of a video FFV1 in Matroska, grey
    Mask,
    /// A grey PNG: class ids as grey values, for other programs; of a video as mask
    Ids,
    /// A picture of the classes' colours alone
    Color,
    /// The photograph with the classes' outlines and names
    Contours,
    /// What is in the image, and how much of it; of a video a line for each frame
    Json,
    /// COCO results: compressed run lengths, as pycocotools reads them
    Rle,
    /// Polygons along the pixels' edges, in pixels from the upper left corner
    Geojson,
    /// A numpy array: class ids, or probabilities with --probs
    Npy,
    /// Written where --cutout asks for it.
    #[value(skip)]
    Cutout,
}

impl Format {
    /// Those that can be looked at.
    pub(crate) const VISIBLE: [Self; 6] =
        [Self::Overlay, Self::Mask, Self::Ids, Self::Color, Self::Contours, Self::Cutout];

    /// What it is called on the command line, and in the output's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Mask => "mask",
            Self::Ids => "ids",
            Self::Color => "color",
            Self::Contours => "contours",
            Self::Json => "json",
            Self::Rle => "rle",
            Self::Geojson => "geojson",
            Self::Npy => "npy",
            Self::Cutout => "cutout",
        }
    }

    /// A picture for people.
    pub(crate) fn is_picture(self) -> bool {
        matches!(self, Self::Overlay | Self::Color | Self::Contours)
    }
}

fn shard(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').and_then(|(part, of)| Some((part.trim().parse().ok()?, of.trim().parse().ok()?)));
    parts.filter(|(part, of)| part < of).ok_or_else(|| "write `I/N`, with I from 0 to N - 1, such as 2/8".into())
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
    number.ok_or_else(|| "it must be a number above 0".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked() {
        assert_eq!(seconds("1.5"), Ok(1.5));
        assert!(["0", "-1", "nan", "inf", ""].into_iter().all(|text| seconds(text).is_err()));
        assert_eq!((shard("0/1"), shard("7/8")), (Ok((0, 1)), Ok((7, 8))));
        assert!(["", "1", "1/1", "8/8", "-1/2", "0/0", "a/b"].into_iter().all(|text| shard(text).is_err()));
    }
}
