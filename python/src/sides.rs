//! Sizes, as Python gives them.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The longest side of what a network looks at, as in the program.
const MOST: usize = 1 << 14;

/// Height and width, or one number for both.
#[derive(Debug, FromPyObject)]
pub(crate) enum Sides {
    #[pyo3(annotation = "int")]
    Square(usize),
    #[pyo3(annotation = "tuple[int, int]")]
    Rectangle(usize, usize),
}

impl Sides {
    /// Height and width; `name` is the argument's.
    ///
    /// # Errors
    /// `ValueError` where a side is 0 or too long.
    pub(crate) fn checked(self, name: &str) -> PyResult<(usize, usize)> {
        let (height, width) = match self {
            Self::Square(side) => (side, side),
            Self::Rectangle(height, width) => (height, width),
        };
        if [height, width].iter().all(|side| (1..=MOST).contains(side)) {
            return Ok((height, width));
        }
        let reason = format!("`{name}` is {height}×{width}, and each side is a number from 1 to {MOST}");
        Err(PyValueError::new_err(reason))
    }
}
