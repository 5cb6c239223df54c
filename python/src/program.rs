//! The program `candle-deeplab`, for `python -m candle_deeplab`.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the program with these arguments, of which the first is its own name, and returns its exit code.
///
/// It is meant to have a process of its own: it handles Ctrl-C itself, and uses threads that a fork does not survive.
#[pyfunction]
pub(crate) fn run(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| candle_deeplab_cli::run(args))
}
