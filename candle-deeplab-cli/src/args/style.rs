//! What pictures look like.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct StyleArgs {
    /// How much the overlay's colours cover the photograph, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.6, value_parser = opacity, help_heading = "Pictures")]
    pub(crate) opacity: f32,

    /// The classes' colours: vivid, voc, cityscapes, ade20k or a FILE [default: vivid in overlay and contours, the
    /// model's own in everything else]
    ///
    /// A file has one colour a line, as #rrggbb or as `red green blue` from 0 to 255, for each class in its order, the
    /// background included. With this option all outputs have these colours, masks too; their class ids stay the same.
    #[arg(long, value_name = "PALETTE", help_heading = "Pictures")]
    pub(crate) palette: Option<PaletteName>,

    /// Add a strip below overlay, color and contours, with colour, name and share of each class
    #[arg(long, help_heading = "Pictures")]
    pub(crate) legend: bool,

    /// Draw no outlines around the overlay's regions
    #[arg(long, help_heading = "Pictures")]
    pub(crate) no_outlines: bool,

    /// Write no names of classes into overlay and contours
    #[arg(long, help_heading = "Pictures")]
    pub(crate) no_names: bool,

    /// Leave classes out of overlay, contours and legend that cover less of the image, e.g. 2% or 0.02; masks, numbers
    /// and polygons have them nonetheless
    #[arg(long, value_name = "SHARE", default_value = "0.5%", value_parser = share, help_heading = "Pictures")]
    pub(crate) min_share: f64,
}

/// Where colours come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PaletteName {
    Vivid,
    Voc,
    Cityscapes,
    Ade20k,
    File(PathBuf),
}

impl FromStr for PaletteName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "vivid" => Self::Vivid,
            "voc" => Self::Voc,
            "cityscapes" => Self::Cityscapes,
            "ade20k" => Self::Ade20k,
            path => Self::File(path.into()),
        })
    }
}

fn opacity(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|opacity| (0.0..=1.0).contains(opacity));
    number.ok_or_else(|| "it must be a number from 0 to 1".into())
}

fn share(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse().ok().map(|percent: f64| percent / 100.0),
        None => text.parse().ok(),
    };
    let share = number.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "it must be a share of the image, from 0 to 1 or from 0% to 100%".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_opacities_are_checked() {
        assert_eq!((opacity("0"), opacity("0.25"), opacity("1")), (Ok(0.0), Ok(0.25), Ok(1.0)));
        assert!(["-0.1", "1.1", "nan", "60%", ""].into_iter().all(|text| opacity(text).is_err()));
        assert_eq!((share("0.5%"), share("2 %"), share("0.02"), share("0")), (Ok(0.005), Ok(0.02), Ok(0.02), Ok(0.0)));
        assert!(["-1%", "101%", "2", "nan", "%", ""].into_iter().all(|text| share(text).is_err()));
    }

    #[test]
    fn a_palette_is_a_name_or_a_file() {
        assert_eq!("voc".parse(), Ok(PaletteName::Voc));
        assert_eq!("./voc".parse(), Ok(PaletteName::File("./voc".into())));
    }
}
