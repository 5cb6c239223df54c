//! The formats in which a segmentation is saved: those of the program, under its names.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use candle_deeplab::mask::Style;
use candle_deeplab::pixels::PictureFormat;
use candle_deeplab::segment::Segmented;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What is made of a segmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Overlay,
    Contours,
    Color,
    Mask,
    Ids,
    Json,
    Rle,
    Geojson,
    Npy,
}

impl Format {
    const NAMES: [(&'static str, Self); 9] = [
        ("overlay", Self::Overlay),
        ("contours", Self::Contours),
        ("color", Self::Color),
        ("mask", Self::Mask),
        ("ids", Self::Ids),
        ("json", Self::Json),
        ("rle", Self::Rle),
        ("geojson", Self::Geojson),
        ("npy", Self::Npy),
    ];

    /// The extensions of its files.
    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Overlay | Self::Contours | Self::Color => &["png", "jpg", "webp"],
            // Programs read its palette and ids, and all of them read PNG.
            Self::Mask | Self::Ids => &["png"],
            Self::Json | Self::Rle => &["json"],
            Self::Geojson => &["geojson"],
            Self::Npy => &["npy"],
        }
    }
}

/// What a file will hold.
#[derive(Debug)]
pub(crate) struct Content {
    format: Format,
    picture: PictureFormat,
    style: Style,
    image_id: u64,
}

impl Content {
    /// The content of a file with this format and path.
    ///
    /// # Errors
    /// `ValueError` for an unknown format, or where the path has an extension of another.
    pub(crate) fn new(format: &str, path: &Path, style: Style, image_id: u64) -> PyResult<Self> {
        let Some((name, format)) = Format::NAMES.into_iter().find(|(name, _)| *name == format) else {
            let known = Format::NAMES.map(|(name, _)| format!("`{name}`")).join(", ");
            return Err(PyValueError::new_err(format!("there is no format `{format}`, only {known}")));
        };
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
        let picture = PictureFormat::of_extension(&extension);
        // JPEG has two extensions.
        let usual = match picture {
            Some(picture) => picture.extension(),
            None => &extension,
        };
        if !format.extensions().contains(&usual) {
            let expected = format.extensions().iter().map(|extension| format!("`.{extension}`")).collect::<Vec<_>>();
            let (path, expected) = (path.display(), expected.join(", "));
            let reason = format!("`{name}` is written to {expected}, and `{path}` is called otherwise");
            return Err(PyValueError::new_err(reason));
        }
        Ok(Self { format, picture: picture.unwrap_or(PictureFormat::Png), style, image_id })
    }

    /// Writes a segmentation; `name` is the image's.
    ///
    /// # Errors
    /// Those of `to`, and that a picture has more pixels than its format can count.
    pub(crate) fn write(&self, found: &Segmented, name: &str, to: &mut dyn Write) -> io::Result<()> {
        let Segmented { segmentation, scores, .. } = found;
        let (map, labels) = (segmentation.label_map(), segmentation.labels());
        match self.format {
            Format::Overlay => self.picture.write(&segmentation.overlay(&self.style), to),
            Format::Contours => self.picture.write(&segmentation.contours(&self.style), to),
            Format::Color => self.picture.write(&segmentation.colors(&self.style), to),
            Format::Mask => map.write_mask(labels, to),
            Format::Ids => map.write_ids(to),
            Format::Json => map.write_json(labels, name, to),
            Format::Rle => map.write_rle(labels, self.image_id, scores.as_ref(), to),
            Format::Geojson => map.write_geojson(labels, to),
            Format::Npy => match scores {
                Some(scores) => scores.write_npy(to),
                None => map.write_npy(to),
            },
        }
    }
}
