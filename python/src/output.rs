//! Writes files, each whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind};
use std::path::Path;

use candle_deeplab::{Error, atomic};
use pyo3::prelude::*;

use crate::errors;

/// Writes a file beside its target, and renames it. One that is there already is replaced only if that is wanted.
///
/// # Errors
/// [`Error`](errors::Error).
pub(crate) fn write(
    path: &Path,
    replace: bool,
    content: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> PyResult<()> {
    let written = if replace { atomic::write(path, content) } else { atomic::write_new(path, content) };
    written.map_err(|error| match error {
        Error::Io { path, source } if source.kind() == ErrorKind::AlreadyExists => errors::output(format!(
            "`{}` exists: replace it with `replace=True`, or choose another name",
            path.display()
        )),
        error => errors::output(error),
    })
}
