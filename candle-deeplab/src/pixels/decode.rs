//! Reads image files, turned upright.

use std::io::{BufRead, Cursor, Seek};
use std::path::Path;

use image::DynamicImage;

use super::Encoded;
use crate::error::Result;

/// Reads an image file: JPEG, PNG, WebP, BMP, TIFF or GIF (its first frame), told apart by content and not by name, turned
/// upright as its EXIF orientation says. The colour type is the file's. [`Encoded`] tells its size before that.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) where the file cannot be opened, [`Error::Image`](crate::Error::Image) where it is none of
/// these, is damaged, or is larger than 65 536 pixels a side, [`Error::TooLarge`](crate::Error::TooLarge) where it is more than
/// 1 GiB decoded or as 8-bit RGB (both are checked before memory is allocated), and
/// [`Error::Damaged`](crate::Error::Damaged) where a part of a JPEG file is missing.
pub fn open(path: impl AsRef<Path>) -> Result<DynamicImage> {
    Encoded::open(path)?.into_image()
}

/// Reads an image from memory; `name` stands for the file in errors. See [`open`].
///
/// # Errors
/// Those of [`open`], other than [`Error::Io`](crate::Error::Io).
pub fn from_bytes(bytes: &[u8], name: impl AsRef<Path>) -> Result<DynamicImage> {
    from_reader(Cursor::new(bytes), name)
}

/// Reads an image from a stream; `name` stands for the file in errors. See [`open`].
///
/// # Errors
/// Those of [`open`].
pub fn from_reader(reader: impl BufRead + Seek, name: impl AsRef<Path>) -> Result<DynamicImage> {
    Encoded::from_reader(reader, name)?.into_image()
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba};

    use super::super::encoded::MAX_SIDE;
    use super::*;
    use crate::error::Error;

    /// 24×16: red above left, green above right, blue below left, white below right. Large and flat enough that JPEG
    /// keeps the colours.
    fn quarters() -> RgbImage {
        RgbImage::from_fn(24, 16, |x, y| match (x < 12, y < 8) {
            (true, true) => Rgb([255, 0, 0]),
            (false, true) => Rgb([0, 255, 0]),
            (true, false) => Rgb([0, 0, 255]),
            (false, false) => Rgb([255, 255, 255]),
        })
    }

    fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// The smallest EXIF block that holds an orientation (tag 0x0112, one SHORT), in the given byte order.
    fn exif(orientation: u8, little_endian: bool) -> Vec<u8> {
        let o = orientation;
        if little_endian {
            vec![b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, o, 0, 0, 0, 0, 0, 0, 0]
        } else {
            vec![b'M', b'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, o, 0, 0, 0, 0, 0, 0]
        }
    }

    /// Puts an APP1 segment after a JPEG's start marker.
    fn jpeg_with_exif(jpeg: &[u8], exif: &[u8]) -> Vec<u8> {
        let length = u16::try_from(2 + 6 + exif.len()).unwrap().to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &length, b"Exif\0\0", exif, &jpeg[2..]].concat()
    }

    /// The colour of each corner (red, green, blue or white): above left, above right, below left, below right.
    fn corners(image: &DynamicImage) -> String {
        let image = image.to_rgb8();
        let (right, below) = (image.width() - 2, image.height() - 2);
        [(1, 1), (right, 1), (1, below), (right, below)]
            .map(|(x, y)| match image.get_pixel(x, y).0.map(|v| v > 128) {
                [true, false, false] => 'r',
                [false, true, false] => 'g',
                [false, false, true] => 'b',
                [true, true, true] => 'w',
                _ => '?',
            })
            .iter()
            .collect()
    }

    /// The corners after each of EXIF's eight orientations (TIFF 6.0, tag 274).
    const ORIENTED: [(u8, &str); 8] =
        [(1, "rgbw"), (2, "grwb"), (3, "wbgr"), (4, "bwrg"), (5, "rbgw"), (6, "brwg"), (7, "wgbr"), (8, "gwrb")];

    #[test]
    fn jpegs_are_turned_upright() {
        let jpeg = encode(&quarters().into(), ImageFormat::Jpeg);
        for (orientation, upright) in ORIENTED {
            for little_endian in [true, false] {
                let bytes = jpeg_with_exif(&jpeg, &exif(orientation, little_endian));
                let image = from_bytes(&bytes, "x.jpg").unwrap();
                assert_eq!(corners(&image), upright, "orientation {orientation}");
                let size = if orientation < 5 { (24, 16) } else { (16, 24) };
                assert_eq!((image.width(), image.height()), size);
            }
        }
    }

    #[test]
    fn tiffs_are_turned_upright() {
        for (orientation, upright) in ORIENTED {
            let bytes = tiff(&quarters(), orientation);
            assert_eq!(corners(&from_bytes(&bytes, "x.tif").unwrap()), upright, "orientation {orientation}");
        }
    }

    /// An uncompressed RGB TIFF of one strip with an orientation tag.
    fn tiff(image: &RgbImage, orientation: u8) -> Vec<u8> {
        let (short, long, pixels) = (3u16, 4u16, image.as_raw());
        let entries: [(u16, u16, u32); 9] = [
            (256, short, image.width()),
            (257, short, image.height()),
            (258, short, 0), // where the three bit depths lie: filled in below
            (262, short, 2),
            (273, long, 0), // where the strip lies: filled in below
            (274, short, u32::from(orientation)),
            (277, short, 3),
            (278, short, image.height()),
            (279, long, pixels.len() as u32),
        ];
        let after_directory = 8 + 2 + 12 * entries.len() as u32 + 4;
        let mut bytes = [&b"II*\0"[..], &8u32.to_le_bytes(), &(entries.len() as u16).to_le_bytes()].concat();
        for (tag, kind, value) in entries {
            let (count, value) = match tag {
                258 => (3, after_directory),
                273 => (1, after_directory + 6),
                _ => (1, value),
            };
            bytes.extend(
                [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &u32::to_le_bytes(count), &value.to_le_bytes()].concat(),
            );
        }
        bytes.extend([0; 4]);
        bytes.extend([8, 0, 8, 0, 8, 0]);
        bytes.extend(pixels);
        bytes
    }

    #[test]
    fn broken_metadata_does_not_cost_the_picture() {
        let jpeg = encode(&quarters().into(), ImageFormat::Jpeg);
        for exif in [&b""[..], b"nonsense", &exif(0, true), &exif(9, true), &exif(6, true)[..20]] {
            let image = from_bytes(&jpeg_with_exif(&jpeg, exif), "x.jpg").unwrap();
            assert_eq!(corners(&image), "rgbw");
        }
    }

    #[test]
    fn the_content_decides_the_format_and_the_name_does_not() {
        let image = DynamicImage::from(quarters());
        let formats = [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::Gif];
        for format in formats {
            let decoded = from_bytes(&encode(&image, format), "photo.jpg").unwrap();
            assert_eq!(decoded.to_rgb8(), quarters(), "{format:?}");
        }
    }

    #[test]
    fn every_colour_type_becomes_rgb() {
        let as_rgb = |image: DynamicImage| {
            let decoded = from_bytes(&encode(&image, ImageFormat::Png), "x.png").unwrap();
            assert_eq!(decoded.color(), image.color());
            decoded.to_rgb8().get_pixel(0, 0).0
        };
        let one = |pixel| image::ImageBuffer::from_pixel(1, 1, pixel);
        assert_eq!(as_rgb(DynamicImage::ImageLuma8(image::ImageBuffer::from_pixel(1, 1, Luma([90])))), [90; 3]);
        assert_eq!(as_rgb(DynamicImage::ImageLumaA8(image::ImageBuffer::from_pixel(1, 1, LumaA([90, 3])))), [90; 3]);
        // 16-bit values are scaled, not cut: 65535 is 255 and 257 a step.
        assert_eq!(
            as_rgb(DynamicImage::ImageLuma16(image::ImageBuffer::from_pixel(1, 1, Luma([257 * 90u16])))),
            [90; 3]
        );
        let deep = image::ImageBuffer::from_pixel(1, 1, Rgb([65535u16, 257, 0]));
        assert_eq!(as_rgb(DynamicImage::ImageRgb16(deep)), [255, 1, 0]);
        // Transparency is dropped and the hidden colour shows, as with Pillow's `convert("RGB")`.
        assert_eq!(as_rgb(DynamicImage::ImageRgba8(one(Rgba([10, 20, 30, 0])))), [10, 20, 30]);
    }

    #[test]
    fn errors_name_the_file() {
        let png = encode(&quarters().into(), ImageFormat::Png);
        for bytes in [&b""[..], b"not an image", &png[..40], &png[..png.len() - 20]] {
            let error = from_bytes(bytes, "holiday.png").unwrap_err().to_string();
            assert!(error.starts_with("holiday.png: "), "{error}");
        }
        assert!(matches!(open("no/such/file.png"), Err(Error::Io { path, .. }) if path.ends_with("file.png")));
    }

    /// A PNG header may claim any size; nothing is allocated for it.
    #[test]
    fn images_beyond_the_limits_are_refused() {
        let claim = |width: u32, height: u32, color: png::ColorType| {
            let mut png = vec![];
            let mut encoder = png::Encoder::new(&mut png, width, height);
            encoder.set_color(color);
            let mut writer = encoder.write_header().unwrap();
            writer.write_chunk(png::chunk::IDAT, &[0]).unwrap();
            drop(writer);
            from_bytes(&png, "bomb.png").unwrap_err()
        };
        let rgb = png::ColorType::Rgb;
        for error in [claim(MAX_SIDE + 1, 1, rgb), claim(1, MAX_SIDE + 1, rgb)] {
            assert!(matches!(error, Error::Image { source: image::ImageError::Limits(_), .. }), "{error}");
        }
        // 1 GiB of grey is 3 GiB of red, green and blue.
        for error in [claim(MAX_SIDE, MAX_SIDE, rgb), claim(1 << 15, 1 << 15, png::ColorType::Grayscale)] {
            assert!(matches!(error, Error::TooLarge { .. }), "{error}");
            assert!(
                error.to_string().starts_with("bomb.png: its ") && error.to_string().contains("1024 MiB"),
                "{error}"
            );
        }
    }
}
