//! The exception classes, and which of them an error becomes.
//!
//! A wrong argument is a `TypeError` or a `ValueError`, as everywhere in Python.

use std::any::Any;
use std::fmt::Display;

use candle_deeplab::Error as Library;
use candle_deeplab_hub::Error as Hub;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(
    candle_deeplab,
    Error,
    PyException,
    "An error of candle_deeplab: the base of the others, and itself for outputs that cannot be written."
);
pyo3::create_exception!(
    candle_deeplab,
    ModelError,
    Error,
    "A model that does not exist, is damaged, or cannot run like this or here."
);
pyo3::create_exception!(
    candle_deeplab,
    ImageError,
    Error,
    "An image that cannot be read, or that takes more memory than there is."
);
pyo3::create_exception!(candle_deeplab, DownloadError, Error, "A model that the network does not give.");
pyo3::create_exception!(candle_deeplab, ConvertError, Error, "A checkpoint that cannot be converted or compared.");
pyo3::create_exception!(candle_deeplab, DataError, Error, "A data set or label maps that cannot be judged.");

/// Adds the classes to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("Error", py.get_type::<Error>())?;
    module.add("ModelError", py.get_type::<ModelError>())?;
    module.add("ImageError", py.get_type::<ImageError>())?;
    module.add("DownloadError", py.get_type::<DownloadError>())?;
    module.add("ConvertError", py.get_type::<ConvertError>())?;
    module.add("DataError", py.get_type::<DataError>())
}

/// The error of something that cannot be written.
pub(crate) fn output(error: impl Display) -> PyErr {
    Error::new_err(error.to_string())
}

/// The error of loading or running a model.
pub(crate) fn model(error: Library) -> PyErr {
    match error {
        Library::Scales { .. } | Library::Tiles { .. } => PyValueError::new_err(error.to_string()),
        Library::Memory { .. } => image(error),
        error => ModelError::new_err(error.to_string()),
    }
}

/// The error of an image.
pub(crate) fn image(error: Library) -> PyErr {
    ImageError::new_err(error.to_string())
}

/// The error of the way from a name to a model.
pub(crate) fn hub(error: Hub) -> PyErr {
    match error {
        Hub::Library(error) => model(error),
        error if error.is_remote() => DownloadError::new_err(error.to_string()),
        error @ Hub::Convert { .. } => ConvertError::new_err(error.to_string()),
        error => ModelError::new_err(error.to_string()),
    }
}

/// The error of work that panicked, which is a fault of ours.
pub(crate) fn crashed(what: &str, panic: &(dyn Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why");
    Error::new_err(format!("{what} crashed, which is a fault of candle_deeplab: {text}"))
}
