//! `candle-deeplab segment`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{DeviceName, ModelArgs};

#[derive(Debug, Args)]
pub(crate) struct SegmentArgs {
    /// The image: JPEG, PNG, WebP, BMP or TIFF
    pub(crate) image: PathBuf,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// The PNG to write [default: IMAGE.FORMAT.png in the current directory, without the image's own extension]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Overlay)]
    pub(crate) format: Format,

    /// How much the overlay's colours cover the photograph, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.6, value_parser = opacity)]
    pub(crate) opacity: f32,

    /// Where the network runs: cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub(crate) device: DeviceName,

    /// Run the network at another output stride, 8, 16 or 32: less is finer and slower [default: the model's own]
    #[arg(long, value_name = "STRIDE", value_parser = output_stride)]
    pub(crate) output_stride: Option<usize>,

    /// Replace the output if it is there already
    #[arg(long)]
    pub(crate) force: bool,

    /// Print one line of JSON instead of a table
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What is made of a segmentation; its name is part of the default output's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// The photograph with the classes' colours over it
    Overlay,
    /// An indexed PNG: class ids with the data set's colours as the palette
    Mask,
    /// A grey PNG: class ids as grey values, for other programs
    Ids,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Mask => "mask",
            Self::Ids => "ids",
        }
    }
}

fn opacity(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|opacity| (0.0..=1.0).contains(opacity));
    number.ok_or_else(|| "it must be a number from 0 to 1".into())
}

fn output_stride(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|stride| [8, 16, 32].contains(stride));
    number.ok_or_else(|| "it must be 8, 16 or 32".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked() {
        assert_eq!((opacity("0"), opacity("0.25"), opacity("1")), (Ok(0.0), Ok(0.25), Ok(1.0)));
        assert!(["-0.1", "1.1", "nan", "60%", ""].into_iter().all(|text| opacity(text).is_err()));
        assert_eq!(output_stride("8"), Ok(8));
        assert!(["4", "0", "x", "-8"].into_iter().all(|text| output_stride(text).is_err()));
    }

    #[test]
    fn formats_have_the_names_that_are_typed() {
        for format in Format::value_variants() {
            assert_eq!(format.to_possible_value().map(|value| value.get_name().to_owned()), Some(format.name().into()));
        }
    }
}
