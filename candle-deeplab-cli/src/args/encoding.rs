//! How pictures and the frames of videos are written.

use candle_deeplab::pixels;
use clap::{Args, ValueEnum};
use serde::Serialize;

/// Loses nothing that eyes see, at a fifth of a PNG's size.
const QUALITY: u8 = 92;

#[derive(Debug, Args)]
pub(crate) struct EncodingArgs {
    /// What pictures are written as [default: overlay and contours of a JPEG as JPEG, all others as PNG]
    ///
    /// It holds for overlay, color, contours and cutout; a cutout has transparent pixels, which JPEG cannot keep, and
    /// stays PNG beside pictures that become JPEG. mask and ids hold numbers, and are always PNG. A file that -o names
    /// is written as its extension says.
    #[arg(long, value_name = "FORMAT", value_enum, help_heading = "Output")]
    pub(crate) picture_format: Option<PictureFormat>,

    /// How good JPEG pictures are, from 1 to 100 [default: 92]; PNG and WebP are written without loss and have no quality
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100), help_heading = "Output")]
    pub(crate) quality: Option<u8>,

    /// Write each frame of a video as an image of its own: film.frames/000001.mask.png and so on, in any format
    #[arg(long, help_heading = "Video")]
    pub(crate) frames: bool,
}

impl EncodingArgs {
    pub(crate) fn jpeg_quality(&self) -> u8 {
        self.quality.unwrap_or(QUALITY)
    }
}

/// How a picture is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PictureFormat {
    /// Without loss
    Png,
    /// The smallest, with a little loss (see --quality)
    #[value(alias = "jpg")]
    Jpeg,
    /// Without loss, smaller than PNG; lossy WebP is not written
    Webp,
}

impl PictureFormat {
    pub(crate) const ALL: [Self; 3] = [Self::Png, Self::Jpeg, Self::Webp];

    /// The format with the quality that the arguments ask for, which only JPEG has.
    pub(crate) fn with_quality(self, quality: u8) -> pixels::PictureFormat {
        match self {
            Self::Png => pixels::PictureFormat::Png,
            Self::Jpeg => pixels::PictureFormat::Jpeg { quality },
            Self::Webp => pixels::PictureFormat::Webp,
        }
    }

    /// The extension that this program gives such files.
    pub(crate) fn extension(self) -> &'static str {
        self.with_quality(QUALITY).extension()
    }

    /// What a file with this extension is.
    pub(crate) fn of_extension(extension: &str) -> Option<Self> {
        Some(match pixels::PictureFormat::of_extension(extension)? {
            pixels::PictureFormat::Png => Self::Png,
            pixels::PictureFormat::Jpeg { .. } => Self::Jpeg,
            pixels::PictureFormat::Webp => Self::Webp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_name_formats() {
        let of = PictureFormat::of_extension;
        assert_eq!(
            (of("JPG"), of("jpeg"), of("png")),
            (Some(PictureFormat::Jpeg), of("jpg"), Some(PictureFormat::Png))
        );
        assert_eq!((of("WebP"), of("avif"), of("")), (Some(PictureFormat::Webp), None, None));
    }
}
