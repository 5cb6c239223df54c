//! A picture's file before its pixels are decoded: how large it is, what decoding it takes, and whether it is whole.

use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use image::error::{LimitError, LimitErrorKind};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

use super::{jpeg, rgb};
use crate::error::{Error, Result};
use crate::graph::Size;

/// The longest side that is decoded; longer than any camera's and any JPEG's (65 535).
pub(super) const MAX_SIDE: u32 = 1 << 16;

/// The most bytes that a decoder's picture may have, and the picture as 8-bit RGB: 350 megapixels of that.
const MAX_PICTURE: u64 = 1 << 30;

/// The most bytes that a decoder may ask for before it knows the picture, e.g. for a colour profile.
const MAX_HEADERS: u64 = 64 << 20;

/// The largest JPEG file; its decoder reads it whole.
const MAX_JPEG: u64 = 1 << 30;

/// An image file whose header has been read, and whose pixels have not: JPEG, PNG, WebP, BMP, TIFF or GIF (its first frame),
/// told apart by content and not by name.
///
/// ```no_run
/// # fn main() -> candle_deeplab::Result<()> {
/// let photo = candle_deeplab::pixels::Encoded::open("photo.jpg")?;
/// println!("{:?} takes {} MiB", photo.size(), photo.memory() >> 20);
/// let pixels = photo.into_rgb8()?;
/// # Ok(())
/// # }
/// ```
pub struct Encoded<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    path: PathBuf,
    orientation: Orientation,
    /// What the decoder takes beside its picture.
    working: u64,
    damage: Option<String>,
}

impl Encoded<'static> {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be opened, [`Error::Image`] where it is no such image, or larger than 65 536 pixels a side,
    /// and [`Error::TooLarge`] where it is more than 1 GiB decoded or as 8-bit RGB.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_reader(BufReader::new(crate::file::open(path)?), path)
    }
}

impl<'a> Encoded<'a> {
    /// Begins to read a stream; `name` stands for the file in errors. Of a JPEG file all is read.
    ///
    /// # Errors
    /// Those of [`open`](Encoded::open).
    pub fn from_reader(reader: impl BufRead + Seek + 'a, name: impl AsRef<Path>) -> Result<Self> {
        let path = name.as_ref().to_owned();
        let reader = ImageReader::new(reader).with_guessed_format().map_err(Error::io(&path))?;
        if reader.format() != Some(ImageFormat::Jpeg) {
            return Self::new(reader, path);
        }
        let mut bytes = vec![];
        reader.into_inner().take(MAX_JPEG + 1).read_to_end(&mut bytes).map_err(Error::io(&path))?;
        if bytes.len() as u64 > MAX_JPEG {
            return Err(Error::Image { path, source: no_memory() });
        }
        let (checked, length) = (jpeg::check(&bytes, MAX_PICTURE / 3), bytes.len() as u64);
        let mut photo = Self::new(ImageReader::with_format(Cursor::new(bytes), ImageFormat::Jpeg), path)?;
        photo.working = checked.kept.saturating_add(length);
        photo.damage = checked.damage;
        Ok(photo)
    }

    fn new(mut reader: ImageReader<impl BufRead + Seek + 'a>, path: PathBuf) -> Result<Self> {
        let format = reader.format();
        reader.limits(limits(MAX_HEADERS));
        let mut decoder: Box<dyn ImageDecoder + 'a> = match reader.into_decoder() {
            Ok(decoder) => Box::new(decoder),
            Err(source) => return Err(Error::Image { path, source }),
        };
        let (width, height) = decoder.dimensions();
        let (pixels, decoded) = (u64::from(width) * u64::from(height), decoder.total_bytes());
        let needed = decoded.max(pixels.saturating_mul(3));
        if needed > MAX_PICTURE {
            return Err(Error::TooLarge { path, width, height, needed, limit: MAX_PICTURE });
        }
        // A picture with damaged metadata is still a picture.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let working = match format {
            // What it decodes is copied into the picture; of CMYK that is a third more.
            Some(ImageFormat::Tiff) => decoded.saturating_mul(2),
            // Red, green, blue and transparency of the whole picture or of a frame.
            Some(ImageFormat::WebP | ImageFormat::Gif) => pixels.saturating_mul(4),
            // Rows.
            _ => 1 << 20,
        };
        Ok(Self { decoder, path, orientation, working, damage: None })
    }

    /// The picture's size, upright.
    pub fn size(&self) -> Size {
        let (width, height) = self.decoder.dimensions();
        let (width, height) = if self.lies() { (height, width) } else { (width, height) };
        Size::new(height as usize, width as usize)
    }

    /// Whether rows become columns.
    fn lies(&self) -> bool {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        matches!(self.orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
    }

    /// About how many bytes [`into_rgb8`](Self::into_rgb8) takes at most, its result among them. The decoder is kept to it as
    /// far as it knows limits.
    pub fn memory(&self) -> u64 {
        let (decoded, rgb) = (self.decoder.total_bytes(), 3 * self.size().area() as u64);
        let is_converted_in_place = self.decoder.color_type().bytes_per_pixel() >= 3;
        let converted = if is_converted_in_place { decoded } else { decoded.saturating_add(rgb) };
        let turned = if self.lies() { 2 * rgb } else { rgb };
        decoded.saturating_add(self.working).max(converted).max(turned)
    }

    /// Checks that nothing is missing of the file, as far as that is known before it is decoded: of JPEG files it is.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn whole(&self) -> Result<()> {
        let reason = self.damage.clone();
        reason.map_or(Ok(()), |reason| Err(Error::Damaged { path: self.path.clone(), reason }))
    }

    /// Decodes the picture and turns it upright, as its EXIF orientation says. The colour type is the file's.
    ///
    /// # Errors
    /// [`Error::Damaged`] where a part of a JPEG file is missing, [`Error::Image`] where something else is wrong with the file
    /// or there is no memory for the picture.
    pub fn into_image(mut self) -> Result<DynamicImage> {
        self.whole()?;
        let decoder_limits = limits(self.decoder.total_bytes().saturating_add(self.working));
        let decoded = self.decoder.set_limits(decoder_limits).and_then(|()| DynamicImage::from_decoder(self.decoder));
        let mut image = decoded.map_err(|source| Error::Image { path: self.path, source })?;
        image.apply_orientation(self.orientation);
        Ok(image)
    }

    /// The same as 8-bit red, green and blue, for which no other copy of the picture is made where it can be avoided.
    ///
    /// # Errors
    /// Those of [`into_image`](Self::into_image).
    pub fn into_rgb8(self) -> Result<RgbImage> {
        self.whole()?;
        self.decode(false).map(|(image, _)| image)
    }

    /// The same of a file that is damaged, as far as it goes: the rest is of one colour, or what the decoder makes of it. The
    /// text says what is missing; `None` where nothing is.
    ///
    /// # Errors
    /// [`Error::Image`] where nothing of the picture can be decoded.
    pub fn into_rgb8_lenient(self) -> Result<(RgbImage, Option<String>)> {
        self.decode(true)
    }

    fn decode(self, is_lenient: bool) -> Result<(RgbImage, Option<String>)> {
        let Self { mut decoder, path, orientation, working, mut damage } = self;
        let ((width, height), color, bytes) = (decoder.dimensions(), decoder.color_type(), decoder.total_bytes());
        let decode = || {
            let mut samples = vec![];
            let length = usize::try_from(bytes).map_err(|_| no_memory())?;
            samples.try_reserve_exact(length).map_err(|_| no_memory())?;
            samples.resize(length, 0);
            decoder.set_limits(limits(bytes.saturating_add(working)))?;
            match decoder.read_image_boxed(&mut samples) {
                Err(error) if is_lenient && is_partial(&error, color, &samples) => {
                    damage.get_or_insert(error.to_string());
                }
                read => read?,
            }
            rgb::from_samples(samples, color, width, height).ok_or_else(no_memory)
        };
        let image = decode().map_err(|source| Error::Image { path, source })?;
        let mut image = DynamicImage::from(image);
        image.apply_orientation(orientation);
        Ok((image.into_rgb8(), damage))
    }
}

/// Whether a decoder that failed has left a part of the picture. Values of more than a byte may be in the file's order of
/// bytes yet.
fn is_partial(error: &ImageError, color: ColorType, samples: &[u8]) -> bool {
    let is_about_the_file = matches!(error, ImageError::Decoding(_) | ImageError::IoError(_));
    let is_of_bytes = color.bytes_per_pixel() == color.channel_count();
    is_about_the_file && is_of_bytes && samples.iter().any(|sample| *sample != 0)
}

fn limits(bytes: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(bytes);
    limits
}

fn no_memory() -> ImageError {
    ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory))
}

impl std::fmt::Debug for Encoded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoded").field("path", &self.path).field("size", &self.size()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use jpeg_encoder::{ColorType::Rgb as OfRgb, Encoder, SamplingFactor};

    use super::*;

    fn photo() -> RgbImage {
        RgbImage::from_fn(150, 90, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, (x * y / 9) as u8]))
    }

    fn jpeg(set: impl Fn(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
        let (mut bytes, photo) = (vec![], photo());
        let mut encoder = Encoder::new(&mut bytes, 90);
        set(&mut encoder);
        encoder.encode(&photo, photo.width() as u16, photo.height() as u16, OfRgb).unwrap();
        bytes
    }

    /// JPEG files of the kinds that there are.
    fn jpegs() -> Vec<Vec<u8>> {
        let sampled = |factor| move |encoder: &mut Encoder<&mut Vec<u8>>| encoder.set_sampling_factor(factor);
        vec![
            jpeg(|_| ()),
            jpeg(sampled(SamplingFactor::R_4_2_0)),
            jpeg(sampled(SamplingFactor::R_4_4_0)),
            jpeg(sampled(SamplingFactor::R_4_1_0)),
            jpeg(|encoder| encoder.set_optimized_huffman_tables(true)),
            jpeg(|encoder| encoder.set_restart_interval(7)),
            jpeg(|encoder| encoder.set_progressive(true)),
            jpeg(|encoder| encoder.set_progressive_scans(12)),
        ]
    }

    fn encoded(bytes: &[u8]) -> Result<Encoded<'_>> {
        Encoded::from_reader(Cursor::new(bytes), "x")
    }

    #[test]
    fn a_jpeg_without_its_end_or_with_more_behind_it_is_whole() {
        for bytes in jpegs() {
            let pixels = encoded(&bytes).unwrap().into_rgb8().unwrap();
            for other in [&bytes[..bytes.len() - 2], &[&bytes[..], b"trailing \xff\xd8 bytes"].concat()] {
                assert!(encoded(other).unwrap().into_rgb8().unwrap() == pixels);
            }
        }
    }

    #[test]
    fn a_jpeg_that_is_cut_is_refused_unless_what_is_there_will_do() {
        for bytes in jpegs() {
            for share in [95, 50, 20] {
                let cut = &bytes[..bytes.len() * share / 100];
                // Without its header it is nothing.
                let Ok(photo) = encoded(cut) else { continue };
                let error = photo.whole().unwrap_err();
                assert!(matches!(&error, Error::Damaged { reason, .. } if reason.contains("end after")), "{error}");
                assert!(encoded(cut).unwrap().into_rgb8().is_err() && encoded(cut).unwrap().into_image().is_err());
                let (pixels, damage) = encoded(cut).unwrap().into_rgb8_lenient().unwrap();
                assert!(pixels.dimensions() == (150, 90) && damage.is_some());
            }
        }
    }

    /// What the other formats' decoders do.
    #[test]
    fn whatever_is_cut_is_refused() {
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::Gif] {
            let mut bytes = Cursor::new(vec![]);
            DynamicImage::from(photo()).write_to(&mut bytes, format).unwrap();
            let bytes = bytes.into_inner();
            for share in [95, 50, 10, 2] {
                let cut = &bytes[..bytes.len() * share / 100];
                assert!(encoded(cut).and_then(Encoded::into_rgb8).is_err(), "{share} % of {format:?}");
            }
        }
    }

    #[test]
    fn what_there_is_of_a_png_is_taken_where_that_is_wanted() {
        let mut bytes = Cursor::new(vec![]);
        DynamicImage::from(photo()).write_to(&mut bytes, ImageFormat::Png).unwrap();
        let bytes = bytes.into_inner();
        let (pixels, damage) = encoded(&bytes[..bytes.len() / 2]).unwrap().into_rgb8_lenient().unwrap();
        assert!(damage.is_some() && pixels.get_pixel(70, 5) == photo().get_pixel(70, 5));
        let (pixels, damage) = encoded(&bytes).unwrap().into_rgb8_lenient().unwrap();
        assert!(damage.is_none() && pixels == photo());
        // A header alone is no picture.
        assert!(encoded(&bytes[..60]).and_then(Encoded::into_rgb8_lenient).is_err());
    }

    #[test]
    fn the_memory_that_a_picture_takes_is_known_before() {
        let memory = |image: DynamicImage, format| {
            let mut bytes = Cursor::new(vec![]);
            image.write_to(&mut bytes, format).unwrap();
            let bytes = bytes.into_inner();
            let (taken, size) = encoded(&bytes).map(|photo| (photo.memory(), photo.size())).unwrap();
            assert_eq!(size, Size::new(1000, 2000));
            taken
        };
        let pixels = 2_000_000;
        let image = DynamicImage::new_rgb8(2000, 1000);
        let png = |image| memory(image, ImageFormat::Png) / pixels;
        assert_eq!(png(image.clone()), 3);
        // Grey becomes a second picture, 16 bits and transparency do not.
        assert_eq!((png(image.to_luma8().into()), png(image.to_rgba16().into())), (4, 8));
        assert_eq!(memory(image.clone(), ImageFormat::Tiff) / pixels, 9);
        let progressive = {
            let mut bytes = vec![];
            let mut encoder = Encoder::new(&mut bytes, 90);
            encoder.set_progressive(true);
            encoder.encode(image.as_bytes(), 2000, 1000, OfRgb).unwrap();
            bytes
        };
        // All coefficients wait for the last scan.
        assert_eq!(encoded(&progressive).unwrap().memory() / pixels, 9);
    }
}
