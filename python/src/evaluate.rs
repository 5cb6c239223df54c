//! Judges label maps against those of a data set.

use std::path::PathBuf;

use candle_deeplab::metrics::Trimap;
use candle_deeplab_train::data::{Dataset, Kind, Source};
use candle_deeplab_train::eval::{self, About, Evaluation, Judged, Options, Predictions};
use candle_deeplab_train::{Error, Result};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arguments::{count, text};
use crate::errors::DataError;
use crate::{json, pool, wait};

/// Judges the label maps of a folder against those of a data set, as `eval --predictions` does.
///
/// IoU of a class = right / (labelled + predicted - right), over all pixels of all images. A class that is neither labelled nor
/// predicted has none, and mIoU leaves it out. Ignored pixels do not count.
///
/// Args:
///     predictions: A folder of PNG files of class ids, numbered as the data set's label maps and named like its images.
///     data: The data set's folder.
///     split: The part of the data set.
///     kind: The layout: `folder` (images/SPLIT and labels/SPLIT), `voc`, `cityscapes` or `ade20k`; by default, the data set's
///         folders tell.
///     labels: The classes: `voc`, `cityscapes`, `ade20k`, `ade20k-150`, `camvid`, or a file; by default those of the data set.
///     limit: Judge only so many images, the first ones.
///     trimap: Judge also the pixels within 1, 2, ... `trimap` pixels of a border; at most 256.
///     worst: How many of the worst images are named.
///
/// Returns:
///     The report that `eval --predictions ... --json` prints: `miou`, `pixel_accuracy`, `classes` and so on; scores are
///     shares from 0 to 1, or `None` where there is none.
///
/// Raises:
///     DataError: A label map is missing, has another size, or holds an id that is no class; the message names it.
///     ValueError: An argument is not one of those above.
#[pyfunction]
#[pyo3(signature = (
    predictions, data, *, split = "val", kind = None, labels = None, limit = None, trimap = 0, worst = 0
))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub(crate) fn evaluate<'py>(
    py: Python<'py>,
    predictions: PathBuf,
    data: PathBuf,
    split: &str,
    kind: Option<String>,
    labels: Option<PathBuf>,
    limit: Option<i64>,
    trimap: i64,
    worst: i64,
) -> PyResult<Bound<'py, PyAny>> {
    let most = Trimap::MOST_BANDS;
    let widest = u32::try_from(trimap).ok().filter(|widest| *widest as usize <= most);
    let widest = widest.ok_or_else(|| PyValueError::new_err(format!("`trimap` is a number from 0 to {most}")))?;
    let (model, folder) = (predictions.display().to_string(), data.display().to_string());
    let about = About { model, data: folder, split: split.to_owned(), ..About::default() };
    let limit = limit.map(|limit| count("limit", limit)).transpose()?;
    let labels = labels.map(|labels| text("labels", labels)).transpose()?;
    let options = Options { about, limit, trimap: (1..=widest).collect(), worst: count("worst", worst)? };
    let source = Source { dir: data, kind: kind.map(named).transpose()?, labels };
    let found = wait::in_pool(py, pool::DEFAULT, "judging the label maps", move || {
        judge(predictions, &source, &options).map_err(|error: Error| DataError::new_err(error.to_string()))
    })?;
    json::to_python(py, &json::text(&found.report)?)
}

fn judge(predictions: PathBuf, source: &Source, options: &Options) -> Result<Evaluation> {
    source.splits()?;
    let data = Dataset::open(source, &options.about.split)?;
    let predictions = Predictions::find(predictions, &data, options.limit.unwrap_or(usize::MAX))?;
    eval::evaluate(Judged::Predictions(&predictions), &data, options, |_, _| ())
}

/// The layout of a name.
fn named(kind: String) -> PyResult<Kind> {
    let kind = serde_json::from_value(serde_json::Value::String(kind));
    kind.map_err(|error| PyValueError::new_err(format!("`kind`: {error}")))
}
