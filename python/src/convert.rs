//! Converts checkpoints of other programs, and compares a model with the network that it was converted from.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use weights_convert::{Card, Checkpoint, Options, WeightType};

use crate::arguments::{Sides, text};
use crate::errors::ConvertError;
use crate::{json, pool, wait};

/// Converts a checkpoint into a model directory: `config.json`, `model.safetensors` and a model card.
///
/// TensorFlow checkpoints and frozen graphs, TFLite, safetensors and PyTorch files, and folders of transformers models are
/// read. What the network is, the tensors' names and shapes tell; an option overrides that. Nothing is executed that a file
/// contains. Everything is checked before anything is written.
///
/// Args:
///     src: The file, the prefix of a TensorFlow checkpoint, or the folder.
///     out: The model directory, which is made where it is missing.
///     state: The weights to take from a PyTorch file that holds several, such as `model_ema`.
///     family: The code base that the weights come from, where it is not recognised.
///     output_stride: The output stride that the network was trained for: 8, 16 or 32.
///     atrous_rates: The dilations of the ASPP's branches at that output stride.
///     align_corners: Whether corner pixels keep their places when maps are resized.
///     multi_grid: Three dilations of the last block's units.
///     labels: `voc`, `cityscapes`, `ade20k`, `ade20k-150`, `camvid`, or a file with a class name on each line.
///     input_size: Height and width of the network's input, or one number for both.
///     keep_auxiliary: Whether the auxiliary head is kept.
///     dtype: `f32` or `f16`: what the weights are stored as.
///     license: The licence of the weights, for the model card.
///     datasets: What the network was trained on, for the model card.
///     ignore_unexpected: Whether tensors that no rule knows are left out, and not an error.
///     replace: Whether a model that is already in the directory is replaced.
///
/// Returns:
///     What was done: `source`, `format`, `out`, `decisions`, `parameters`, `used`, `renamed`, `unexpected` and so on, as
///     `weights-convert convert --json` prints it.
///
/// Raises:
///     ConvertError: The file is damaged or no network that is known, or the directory cannot be written.
#[pyfunction]
#[pyo3(signature = (
    src, out, *, state = None, family = None, output_stride = None, atrous_rates = None, align_corners = None,
    multi_grid = None, labels = None, input_size = None, keep_auxiliary = false, dtype = "f32", license = None,
    datasets = None, ignore_unexpected = false, replace = false
))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub(crate) fn convert<'py>(
    py: Python<'py>,
    src: PathBuf,
    out: PathBuf,
    state: Option<String>,
    family: Option<String>,
    output_stride: Option<usize>,
    atrous_rates: Option<Vec<usize>>,
    align_corners: Option<bool>,
    multi_grid: Option<[usize; 3]>,
    labels: Option<PathBuf>,
    input_size: Option<Sides>,
    keep_auxiliary: bool,
    dtype: &str,
    license: Option<String>,
    datasets: Option<Vec<String>>,
    ignore_unexpected: bool,
    replace: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let dtype = match dtype {
        "f32" => WeightType::F32,
        "f16" => WeightType::F16,
        other => return Err(PyValueError::new_err(format!("`dtype` is `f32` or `f16`, not `{other}`"))),
    };
    let options = Options {
        family,
        output_stride,
        atrous_rates,
        align_corners,
        multi_grid,
        labels: labels.map(|labels| text("labels", labels)).transpose()?,
        input_size: input_size.map(|size| size.checked("input_size")).transpose()?,
        ignore_unexpected,
        keep_auxiliary,
        dtype,
        card: Card { license, datasets: datasets.unwrap_or_default(), miou: None },
    };
    let report = wait::in_thread(py, "converting the checkpoint", move || {
        let checkpoint = Checkpoint::open_state(&src, state.as_deref()).map_err(failed)?;
        weights_convert::convert_checkpoint(&checkpoint, &out, &options, replace).map_err(failed)
    })?;
    json::to_python(py, &json::text(&report)?)
}

/// Compares the logits of a model with those of the network that it was converted from, on the CPU.
///
/// Args:
///     model: A model directory.
///     reference: A safetensors file with `input` [N, 3, H, W], already preprocessed, and the original's `logits`
///         [N, classes, h, w], at the head's resolution or the input's; of a backbone, `features` instead.
///     tolerance: The largest difference that passes, in standard deviations of the reference's logits.
///
/// Returns:
///     `max_abs_diff`, `max_abs_diff_over_std`, `mask_agreement`, `tolerance` and `passed`.
///
/// Raises:
///     ConvertError: The model or the reference cannot be read, or their shapes do not fit each other.
///     ValueError: The tolerance is no number of standard deviations.
#[pyfunction]
#[pyo3(signature = (model, reference, *, tolerance = 1e-3))]
pub(crate) fn verify(py: Python<'_>, model: PathBuf, reference: PathBuf, tolerance: f64) -> PyResult<Bound<'_, PyAny>> {
    if !tolerance.is_finite() || tolerance < 0.0 {
        return Err(PyValueError::new_err("`tolerance` is a number of standard deviations, such as 1e-3"));
    }
    let comparison = wait::in_pool(py, pool::DEFAULT, "comparing the networks", move || {
        weights_convert::verify(&model, &reference, tolerance).map_err(failed)
    })?;
    json::to_python(py, &json::text(&comparison)?)
}

fn failed(error: weights_convert::Error) -> PyErr {
    ConvertError::new_err(error.to_string())
}
