//! Reads label maps: PNG files whose values, or whose indices into a palette, are ids.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use candle_deeplab::file;
use candle_deeplab::graph::Size;
use image::GrayImage;
use png::{BitDepth, ColorType, DecodingError, Limits, Transformations};

use crate::error::{Error, Result};

/// The longest side, and the most pixels: those of [`candle_deeplab::pixels`].
const MAX_SIDE: u32 = 1 << 16;
const MAX_PIXELS: u64 = (1 << 30) / 3;
/// The most bytes that the decoder may take beside the pixels.
const MAX_WORKING: usize = 64 << 20;

/// A label file whose header has been read.
pub(super) struct LabelFile {
    reader: png::Reader<BufReader<File>>,
    path: PathBuf,
    size: Size,
}

impl LabelFile {
    /// Opens a file and checks that it holds ids. An orientation in its metadata is not looked at: label maps are drawn
    /// on upright images, and no annotation tool writes one.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut file = BufReader::with_capacity(1 << 16, file::open(path)?);
        if !file.fill_buf().map_err(Error::io(path))?.starts_with(b"\x89PNG\r\n\x1a\n") {
            let reason = "it is not a PNG: label maps have to be, since other formats change ids by compression";
            return Err(Error::data(path, reason));
        }
        let mut decoder = png::Decoder::new_with_limits(file, Limits { bytes: MAX_WORKING });
        decoder.set_transformations(Transformations::IDENTITY);
        let reader = decoder.read_info().map_err(damage(path))?;
        let info = reader.info();
        let (width, height) = (info.width, info.height);
        if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(Error::data(
                path,
                format!("{width}×{height} pixels are more than a label map may have: cut it"),
            ));
        }
        match (info.color_type, info.bit_depth) {
            (ColorType::Indexed | ColorType::Grayscale, depth) if depth != BitDepth::Sixteen => {}
            (ColorType::Grayscale, _) => {
                return Err(Error::data(
                    path,
                    "it has 16 bits a pixel: write its ids, which are at most 255, as 8 bits",
                ));
            }
            (ColorType::Rgb | ColorType::Rgba, _) => {
                let reason = "it has colours (RGB) and no ids: `candle-deeplab dataset convert` makes ids of a palette's \
                              colours";
                return Err(Error::data(path, reason));
            }
            _ => {
                let reason = "it has transparency: write its ids as 8-bit grey values, or as indices into a palette";
                return Err(Error::data(path, reason));
            }
        }
        let size = Size::new(height as usize, width as usize);
        Ok(Self { reader, path: path.to_owned(), size })
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// Reads the ids. Those of fewer than 8 bits keep their values.
    pub(super) fn read(mut self) -> Result<GrayImage> {
        let Size { height, width } = self.size;
        let bits = self.reader.info().bit_depth as usize;
        let too_large = || Error::damaged(&self.path, "there is no memory for its pixels");
        let length = self.reader.output_buffer_size().ok_or_else(too_large)?;
        let mut samples = vec![];
        samples.try_reserve_exact(length).map_err(|_| too_large())?;
        samples.resize(length, 0);
        let line = self.reader.next_frame(&mut samples).map_err(damage(&self.path))?.line_size;
        let ids = if bits == 8 { samples } else { unpack(&samples, line, bits, width) };
        GrayImage::from_raw(width as u32, height as u32, ids)
            .ok_or_else(|| Error::damaged(&self.path, "a part of its pixels is missing"))
    }
}

/// Values of 1, 2 or 4 bits, the first in the highest bits of a byte; rows begin at whole bytes.
fn unpack(samples: &[u8], line: usize, bits: usize, width: usize) -> Vec<u8> {
    let (values, mask) = (8 / bits, (1 << bits) - 1);
    let value = move |row: &[u8], x: usize| (row[x / values] >> (8 - bits - bits * (x % values))) & mask;
    samples.chunks_exact(line.max(1)).flat_map(|row| (0..width).map(move |x| value(row, x))).collect()
}

fn damage(path: &Path) -> impl FnOnce(DecodingError) -> Error {
    let path = path.to_owned();
    move |error| match error {
        DecodingError::IoError(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::Io { path, source }
        }
        error => Error::Damaged { path, reason: format!("the label map is damaged: {error}") },
    }
}
