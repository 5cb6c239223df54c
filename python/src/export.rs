//! Exports models for other runtimes.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use candle_deeplab::onnx::{self, Head};
use candle_deeplab_hub::Files;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arguments::{Sides, count};
use crate::engine::Engine;
use crate::model::Model;
use crate::{errors, output, pool, wait, zoo};

/// Where the network comes from.
enum Source {
    Loaded(Arc<Engine>),
    Files(Files),
}

/// Exports a model as an ONNX file, for onnxruntime, OpenVINO and their like: from `input`, float32 [1, 3, H, W], already
/// preprocessed, to `logits` or `mask`. Batch norms are folded. The file's metadata hold the recipe and the classes' names.
///
/// Args:
///     model: A model, or what `load` takes for its name.
///     out: The file.
///     size: Height and width of the input, or one number for both; by default the model's own.
///     output_stride: 8, 16 or 32, if not the model's own.
///     head: `logits`, float32 [1, classes, H, W] at the input's size; or `mask`, uint8 [1, H, W], the class of each pixel.
///     replace: Whether a file that is there already is replaced.
///
/// Returns:
///     `model`, `path`, `bytes`, `size` (height and width), `output_stride` and `output`, as the program prints it.
///
/// Raises:
///     ModelError: The model cannot be loaded, or has no such form.
///     Error: The file exists, or cannot be written.
#[pyfunction]
#[pyo3(signature = (model, out, *, size = None, output_stride = None, head = "logits", replace = false))]
pub(crate) fn export_onnx<'py>(
    model: &Bound<'py, PyAny>,
    out: PathBuf,
    size: Option<Sides>,
    output_stride: Option<i64>,
    head: &str,
    replace: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let py = model.py();
    let (head, name) = match head {
        "logits" => (Head::Logits, "logits"),
        "mask" => (Head::Mask, "mask"),
        other => return Err(PyValueError::new_err(format!("`head` is `logits` or `mask`, not `{other}`"))),
    };
    let size = size.map(|size| size.checked("size")).transpose()?;
    let output_stride = output_stride.map(|stride| count("output_stride", stride)).transpose()?;
    let (model, source, pool) = match model.cast::<Model>() {
        Ok(model) => {
            let model = model.get();
            (model.name().to_owned(), Source::Loaded(model.engine().clone()), model.pool())
        }
        Err(_) => {
            let name = zoo::name(model.extract()?)?;
            let files = zoo::resolve(py, &name, None, false)?;
            (name, Source::Files(files), pool::DEFAULT)
        }
    };
    let path = out.display().to_string();
    let (bytes, size, output_stride) = wait::in_pool(py, pool, "exporting the model", move || {
        let mut model = match source {
            Source::Loaded(engine) => engine.model().clone(),
            Source::Files(files) => files.load(&Device::Cpu).map_err(errors::hub)?,
        };
        if let Some(stride) = output_stride {
            model = model.at_output_stride(stride).map_err(errors::model)?;
        }
        let size = size.unwrap_or_else(|| model.config().preprocessing.size.network_size());
        let bytes = onnx::export(&model, size, head).map_err(errors::model)?;
        output::write(&out, replace, |file| file.write_all(&bytes))?;
        Ok((bytes.len(), size, model.config().network.output_stride))
    })?;
    let report = PyDict::new(py);
    report.set_item("model", model)?;
    report.set_item("path", path)?;
    report.set_item("bytes", bytes)?;
    report.set_item("size", size)?;
    report.set_item("output_stride", output_stride)?;
    report.set_item("output", name)?;
    Ok(report)
}
