//! Models by name.

use std::path::PathBuf;

use candle_deeplab_hub::hub::Settings;
use candle_deeplab_hub::{self as hub, BUNDLED, Files, Zoo};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::{self, ModelError};
use crate::{json, wait};

/// Lists the published models that `load` knows by name.
///
/// Each is a dictionary with `id`, `aliases`, `description`, `kind` (`segmentation` or `backbone`), `backbone`, `dataset`,
/// `classes`, `output_stride`, `licence`, `paper`, `evaluations` and what else is known. Nothing is fetched.
#[pyfunction]
pub(crate) fn models(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    json::to_python(py, &json::text(&hub::list())?)
}

/// The name of a model, said or not. A path becomes absolute, so that it means the same in every process of this machine.
///
/// # Errors
/// [`ModelError`] for a path that is no text.
pub(crate) fn name(model: Option<PathBuf>) -> PyResult<String> {
    let Some(path) = model else { return Ok(BUNDLED.into()) };
    let is_path = path.as_os_str() != BUNDLED && path.exists();
    let path = if is_path { std::path::absolute(&path).unwrap_or(path) } else { path };
    let name = path.into_os_string().into_string();
    name.map_err(|name| ModelError::new_err(format!("`{}`: the name of a model is Unicode", name.display())))
}

/// The files of a model, which is downloaded and converted if it is not on this machine.
///
/// # Errors
/// [`ModelError`], [`DownloadError`](errors::DownloadError) and [`ConvertError`](errors::ConvertError).
pub(crate) fn resolve(py: Python<'_>, name: &str, namespace: Option<String>, offline: bool) -> PyResult<Files> {
    if namespace.as_deref() == Some("") {
        return Err(PyValueError::new_err("`namespace` is a user or organisation on the Hub, and not empty"));
    }
    let name = name.to_owned();
    wait::in_thread(py, "fetching the model", move || {
        let mut settings = Settings::from_env().map_err(errors::hub)?;
        settings.offline |= offline;
        settings.namespace = namespace.or(settings.namespace);
        let progress = candle_deeplab_cli::progress(!settings.no_progress);
        let zoo = Zoo::new(settings).map_err(errors::hub)?.with_progress(progress);
        Ok(zoo.resolve(&name).map_err(errors::hub)?.files)
    })
}
