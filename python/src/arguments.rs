//! Numbers, sizes and texts, as Python gives them.

use std::path::PathBuf;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// The longest side of what a network looks at, as in the program.
const MOST: usize = 1 << 14;

/// A number that is not negative; `name` is the argument's.
///
/// # Errors
/// `ValueError` where it is negative.
pub(crate) fn count(name: &str, number: i64) -> PyResult<usize> {
    usize::try_from(number)
        .map_err(|_| PyValueError::new_err(format!("`{name}` is {number}, and it cannot be negative")))
}

/// Text of an argument that may be a path; `name` is the argument's.
///
/// # Errors
/// `ValueError` for a path that is no text.
pub(crate) fn text(name: &str, path: PathBuf) -> PyResult<String> {
    let text = path.into_os_string().into_string();
    text.map_err(|path| PyValueError::new_err(format!("`{name}` is no text: `{}`", path.display())))
}

/// Height and width, or one number for both.
#[derive(Debug)]
pub(crate) struct Sides {
    height: i64,
    width: i64,
}

impl<'py> FromPyObject<'_, 'py> for Sides {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(side) = object.extract() {
            return Ok(Self { height: side, width: side });
        }
        // A list, as JSON has it, is as good as a tuple.
        match object.extract::<[i64; 2]>() {
            Ok([height, width]) => Ok(Self { height, width }),
            Err(_) => Err(PyTypeError::new_err("a size is a whole number, or two of them: height and width")),
        }
    }
}

impl Sides {
    /// Height and width; `name` is the argument's.
    ///
    /// # Errors
    /// `ValueError` where a side is 0, negative or too long.
    pub(crate) fn checked(self, name: &str) -> PyResult<(usize, usize)> {
        let Self { height, width } = self;
        let side = |side| usize::try_from(side).ok().filter(|side| (1..=MOST).contains(side));
        side(height).zip(side(width)).ok_or_else(|| {
            PyValueError::new_err(format!("`{name}` is {height}×{width}, and each side is a number from 1 to {MOST}"))
        })
    }
}
