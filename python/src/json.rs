//! Values that the library describes as JSON, as Python's dictionaries and lists.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;

use crate::errors;

/// A JSON text of a value.
pub(crate) fn text(value: &impl Serialize) -> PyResult<Vec<u8>> {
    serde_json::to_vec(value).map_err(errors::output)
}

/// The value of a JSON text.
pub(crate) fn to_python<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (PyBytes::new(py, text),))
}
