//! Writes a segmentation to files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_deeplab::segment::{Scores, Segmentation};
use candle_deeplab::{Error, atomic};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};
use jpeg_encoder::{EncodingError, SamplingFactor};

use super::plan::already_there;
use super::style::Style;
use super::target::{Destination, Encoding, Target};
use crate::args::{Format, PictureFormat};
use crate::interrupt;

/// What the outputs of one image are made from.
pub(super) struct Subject<'a> {
    pub(super) segmentation: &'a Segmentation,
    pub(super) scores: Option<&'a Scores>,
    /// The image's name in JSON documents.
    pub(super) shown: String,
    /// What was missing of the image.
    pub(super) damage: Option<&'a str>,
    /// The number that COCO's results call it by.
    pub(super) image_id: u64,
}

/// Writes an output; a file is written whole or not at all. It is no error if a reader closes standard output early.
pub(super) fn write(target: &Target, subject: &Subject, style: &Style) -> Result<()> {
    let path = match &target.to {
        Destination::File(path) => path,
        Destination::Frames(folder) => bail!("`{}` is a folder, and no frame of a video", folder.display()),
        Destination::Stdout => {
            let mut stdout = Noting { to: io::stdout().lock(), is_closed: false };
            let mut buffered = BufWriter::new(&mut stdout);
            let written = content(target, subject, style, &mut buffered).and_then(|()| buffered.flush());
            // Drops the buffer without another write: nobody reads it.
            drop(buffered.into_parts());
            return if stdout.is_closed { Ok(()) } else { written.context("cannot write to standard output") };
        }
    };
    make_folder_of(path)?;
    let _unfinished = interrupt::writing();
    let content = |file: &mut BufWriter<&mut File>| content(target, subject, style, file);
    let written = if style.replace { atomic::write(path, content) } else { atomic::write_new(path, content) };
    finished(written, path)
}

/// Remembers that the reader closed the pipe, since encoders replace the error by their own.
struct Noting<W> {
    to: W,
    is_closed: bool,
}

impl<W: Write> Write for Noting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes);
        self.is_closed |= written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.to.flush();
        self.is_closed |= flushed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        flushed
    }
}

/// Creates the folder of a file if it is missing.
pub(super) fn make_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), |folder| {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))
    })
}

/// Explains the error where another program created the file during the run.
fn finished(written: Result<(), Error>, path: &Path) -> Result<()> {
    match written {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{}", already_there(path, ""))
        }
        written => written.context("cannot write the output"),
    }
}

fn content(target: &Target, subject: &Subject, style: &Style, to: &mut dyn Write) -> io::Result<()> {
    let Subject { segmentation, scores, .. } = subject;
    let (map, labels) = (segmentation.label_map(), segmentation.labels());
    let picture_format = match target.encoding {
        Encoding::Picture(format) => format,
        _ => PictureFormat::Png,
    };
    match target.format {
        Format::Overlay | Format::Color | Format::Contours => {
            let picture = style.picture(segmentation, target.format);
            encode(&picture, picture.dimensions(), ExtendedColorType::Rgb8, (picture_format, style.jpeg_quality), to)
        }
        Format::Cutout => {
            let picture = style.cutout(segmentation, *scores).map_err(io::Error::other)?;
            encode(&picture, picture.dimensions(), ExtendedColorType::Rgba8, (picture_format, style.jpeg_quality), to)
        }
        Format::Mask => map.write_mask(labels, to),
        Format::Ids => map.write_ids(to),
        Format::Json => match subject.damage {
            Some(damage) => map.write_json_of_damaged(labels, &subject.shown, damage, to),
            None => map.write_json(labels, &subject.shown, to),
        },
        Format::Rle => map.write_rle(labels, subject.image_id, scores.filter(|_| style.probs), to),
        Format::Geojson => map.write_geojson(labels, to),
        Format::Npy => match scores.filter(|_| style.probs) {
            Some(scores) => scores.write_npy(to),
            None => map.write_npy(to),
        },
    }
}

/// Writes 8-bit samples of a picture.
fn encode(
    samples: &[u8],
    (width, height): (u32, u32),
    color: ExtendedColorType,
    (format, jpeg_quality): (PictureFormat, u8),
    to: &mut dyn Write,
) -> io::Result<()> {
    /// The longest side of a WebP picture, in pixels.
    const WEBP: u32 = 1 << 14;
    let too_large = |most: u32| {
        let extension = format.extension();
        let reason = format!(
            "{width}×{height} pixels are more than the {most} a side of .{extension} files: add `--picture-format png`"
        );
        io::Error::new(io::ErrorKind::InvalidInput, reason)
    };
    let encoded = match format {
        // Trying all five filters on each row would take most of the time, and does not make photographs smaller.
        PictureFormat::Png => PngEncoder::new_with_quality(to, CompressionType::Fast, FilterType::Paeth)
            .write_image(samples, width, height, color),
        PictureFormat::Webp if width.max(height) > WEBP => return Err(too_large(WEBP)),
        PictureFormat::Webp => WebPEncoder::new_lossless(to).write_image(samples, width, height, color),
        PictureFormat::Jpeg => {
            let most = |_| too_large(u16::MAX.into());
            let (width, height) = (u16::try_from(width).map_err(most)?, u16::try_from(height).map_err(most)?);
            let mut encoder = jpeg_encoder::Encoder::new(to, jpeg_quality);
            // Full colour resolution: names and outlines have sharp coloured edges.
            encoder.set_sampling_factor(SamplingFactor::R_4_4_4);
            let encoded = encoder.encode(samples, width, height, jpeg_encoder::ColorType::Rgb);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(width: u32, format: PictureFormat) -> io::Result<Vec<u8>> {
        let samples: Vec<u8> = (0..width).flat_map(|x| [(x % 251) as u8, 7, 9]).collect();
        let mut bytes = vec![];
        encode(&samples, (width, 1), ExtendedColorType::Rgb8, (format, 92), &mut bytes).map(|()| bytes)
    }

    #[test]
    fn pictures_are_what_their_names_say() {
        for format in PictureFormat::ALL {
            let bytes = encoded(300, format).unwrap();
            let expected = image::ImageFormat::from_extension(format.extension());
            assert_eq!(image::guess_format(&bytes).ok(), expected);
            let picture = image::load_from_memory(&bytes).unwrap().into_rgb8();
            let is_lossless = format != PictureFormat::Jpeg;
            assert_eq!(picture.pixels().all(|pixel| pixel.0[1..] == [7, 9]), is_lossless, "{format:?}");
        }
    }

    #[test]
    fn what_a_format_cannot_hold_is_said_with_the_way_out() {
        for (width, format) in [(1 << 16, PictureFormat::Jpeg), ((1 << 14) + 1, PictureFormat::Webp)] {
            let said = encoded(width, format).unwrap_err().to_string();
            assert!(said.contains(&format!("{width}×1")) && said.contains("--picture-format png"), "{said}");
            assert!(encoded(width - 1, format).is_ok() && encoded(width, PictureFormat::Png).is_ok());
        }
    }
}
