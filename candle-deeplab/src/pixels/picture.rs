//! Writes pictures as files.

use std::io::{self, Write};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError, RgbImage, RgbaImage};
use jpeg_encoder::{EncodingError, SamplingFactor};

/// How a picture is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// Without loss.
    Png,
    /// With a little loss, and the smallest. It has no transparency.
    Jpeg {
        /// From 1 to 100; [`PictureFormat::JPEG`] has 92.
        quality: u8,
    },
    /// Without loss, smaller than PNG; lossy WebP is not written.
    Webp,
}

impl PictureFormat {
    /// JPEG that loses nothing that eyes see, at a fifth of a PNG's size.
    pub const JPEG: Self = Self::Jpeg { quality: 92 };

    /// The usual extension of such files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg { .. } => "jpg",
            Self::Webp => "webp",
        }
    }

    /// What a file with this extension is, in upper or lower case; a JPEG is [`JPEG`](Self::JPEG).
    pub fn of_extension(extension: &str) -> Option<Self> {
        let known = if extension.eq_ignore_ascii_case("jpeg") { "jpg" } else { extension };
        let mut all = [Self::Png, Self::JPEG, Self::Webp].into_iter();
        all.find(|format| known.eq_ignore_ascii_case(format.extension()))
    }

    /// The media type, as in HTTP's `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg { .. } => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }

    /// The longest side of such a picture in pixels.
    pub fn longest_side(self) -> u32 {
        match self {
            Self::Png => u32::MAX,
            Self::Jpeg { .. } => u16::MAX.into(),
            Self::Webp => 1 << 14,
        }
    }

    /// Writes a picture in this format.
    ///
    /// # Errors
    /// Those of `to`, and [`io::ErrorKind::InvalidInput`] where a side is [longer](Self::longest_side) than the format
    /// has numbers for.
    pub fn write(self, picture: &RgbImage, to: impl Write) -> io::Result<()> {
        self.encode(picture, picture.dimensions(), ExtendedColorType::Rgb8, to)
    }

    /// Writes a picture with transparency in this format.
    ///
    /// # Errors
    /// As [`write`](Self::write), and [`io::ErrorKind::InvalidInput`] for JPEG.
    pub fn write_transparent(self, picture: &RgbaImage, to: impl Write) -> io::Result<()> {
        self.encode(picture, picture.dimensions(), ExtendedColorType::Rgba8, to)
    }

    fn encode(
        self,
        samples: &[u8],
        (width, height): (u32, u32),
        color: ExtendedColorType,
        to: impl Write,
    ) -> io::Result<()> {
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
        let most = self.longest_side();
        if width.max(height) > most {
            let extension = self.extension();
            return Err(invalid(format!(
                "{width}×{height} pixels are more than the {most} a side of .{extension} files: write a PNG"
            )));
        }
        let encoded = match self {
            // Trying all five filters on each row would take most of the time, and does not make photographs smaller.
            Self::Png => PngEncoder::new_with_quality(to, CompressionType::Fast, FilterType::Paeth)
                .write_image(samples, width, height, color),
            Self::Webp => WebPEncoder::new_lossless(to).write_image(samples, width, height, color),
            Self::Jpeg { .. } if color == ExtendedColorType::Rgba8 => {
                return Err(invalid("JPEG has no transparency: write a PNG or WebP".into()));
            }
            Self::Jpeg { quality } => {
                let mut encoder = jpeg_encoder::Encoder::new(to, quality);
                // Full colour resolution: names and outlines have sharp coloured edges.
                encoder.set_sampling_factor(SamplingFactor::R_4_4_4);
                let encoded = encoder.encode(samples, width as u16, height as u16, jpeg_encoder::ColorType::Rgb);
                return encoded.map_err(|error| match error {
                    EncodingError::IoError(error) => error,
                    other => io::Error::other(other),
                });
            }
        };
        encoded.map_err(|error| match error {
            ImageError::IoError(error) => error,
            other => io::Error::other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [PictureFormat; 3] = [PictureFormat::Png, PictureFormat::JPEG, PictureFormat::Webp];

    fn encoded(width: u32, format: PictureFormat) -> io::Result<Vec<u8>> {
        let picture = RgbImage::from_fn(width, 1, |x, _| image::Rgb([(x % 251) as u8, 7, 9]));
        let mut bytes = vec![];
        format.write(&picture, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn pictures_are_what_their_names_say() {
        for format in ALL {
            let bytes = encoded(300, format).unwrap();
            let found = image::guess_format(&bytes).unwrap();
            assert_eq!(Some(found), image::ImageFormat::from_extension(format.extension()));
            assert_eq!(found.to_mime_type(), format.media_type());
            let picture = image::load_from_memory(&bytes).unwrap().into_rgb8();
            let is_lossless = format != PictureFormat::JPEG;
            assert_eq!(picture.pixels().all(|pixel| pixel.0[1..] == [7, 9]), is_lossless, "{format:?}");
        }
    }

    #[test]
    fn what_a_format_cannot_hold_is_said_with_the_way_out() {
        for format in [PictureFormat::JPEG, PictureFormat::Webp] {
            let side = format.longest_side() + 1;
            let said = encoded(side, format).unwrap_err().to_string();
            assert!(said.contains(&format!("{side}×1")) && said.contains("write a PNG"), "{said}");
            assert!(encoded(side - 1, format).is_ok() && encoded(side, PictureFormat::Png).is_ok());
        }
        let transparent = RgbaImage::new(2, 2);
        assert!(PictureFormat::JPEG.write_transparent(&transparent, io::sink()).is_err());
        assert!(PictureFormat::Webp.write_transparent(&transparent, io::sink()).is_ok());
    }
}
