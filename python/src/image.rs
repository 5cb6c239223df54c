//! An image, as Python gives it.

use std::io::Cursor;
use std::path::PathBuf;

use candle_deeplab::pixels::Encoded;
use candle_deeplab::segment::free_memory;
use image::RgbImage;
use numpy::{PyArray3, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::engine::SMALL;
use crate::errors::{self, ImageError};

/// What an image without a file is called in errors and documents.
const NAME: &str = "image";

/// An image that has not been decoded yet, if it is in a file.
pub(crate) enum Picture {
    /// Red, green and blue of each pixel.
    Pixels(RgbImage),
    /// The path of a file.
    File(PathBuf),
    /// The content of a file.
    Encoded(PyBackedBytes),
}

impl Picture {
    /// The image in an object of Python. Which objects are images, `_inputs.py` says.
    ///
    /// # Errors
    /// `TypeError` and `ValueError`, which say what is wanted.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let inputs = object.py().import("candle_deeplab._inputs")?;
        let known = inputs.call_method1("picture", (object,))?;
        if let Ok(pixels) = known.cast::<PyArray3<u8>>() {
            return rgb(pixels).map(Self::Pixels);
        }
        match known.extract::<PyBackedBytes>() {
            Ok(bytes) => Ok(Self::Encoded(bytes)),
            Err(_) => Ok(Self::File(known.extract()?)),
        }
    }

    /// The image's name in errors and documents.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Pixels(_) | Self::Encoded(_) => NAME.into(),
        }
    }

    /// Decodes it.
    ///
    /// # Errors
    /// [`ImageError`].
    pub(crate) fn read(self) -> PyResult<RgbImage> {
        match self {
            Self::Pixels(image) => Ok(image),
            Self::File(path) => {
                let name = path.display().to_string();
                decode(Encoded::open(path), &name)
            }
            Self::Encoded(bytes) => decode(Encoded::from_reader(Cursor::new(&bytes[..]), NAME), NAME),
        }
    }
}

fn decode(encoded: candle_deeplab::Result<Encoded<'_>>, name: &str) -> PyResult<RgbImage> {
    let encoded = encoded.map_err(errors::image)?;
    let needed = encoded.memory();
    if needed > SMALL
        && let Some(free) = free_memory()
        && needed > free
    {
        let (needed, free) = (needed >> 20, free >> 20);
        let reason = format!("{name}: decoding it takes {needed} MiB, and {free} MiB are free: give a smaller image");
        return Err(ImageError::new_err(reason));
    }
    encoded.into_rgb8().map_err(errors::image)
}

/// A copy of pixels `[H, W, 3]`, whose values are contiguous.
fn rgb(pixels: &Bound<'_, PyArray3<u8>>) -> PyResult<RgbImage> {
    let (height, width) = (pixels.shape()[0], pixels.shape()[1]);
    let values = pixels.try_readonly()?.as_slice()?.to_vec();
    let image = u32::try_from(width).ok().zip(u32::try_from(height).ok());
    let image = image.and_then(|(width, height)| RgbImage::from_raw(width, height, values));
    image.ok_or_else(|| ImageError::new_err(format!("{width}×{height} pixels are more than an image can have")))
}
