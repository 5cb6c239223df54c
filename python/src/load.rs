//! Loads models.

use std::path::PathBuf;
use std::sync::Arc;

use candle_deeplab::Precision;
use candle_deeplab::segment::{Options, Tiles};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arguments::{Sides, count};
use crate::engine::Engine;
use crate::model::Model;
use crate::{device, errors, pool, wait, zoo};

/// More than any machine has cores; each takes memory of its own.
const MOST_THREADS: usize = 4096;

/// The arguments of `load`, by which a model is loaded again in another process.
#[derive(Debug, Clone, IntoPyObject)]
pub(crate) struct Arguments {
    pub(crate) model: String,
    pub(crate) device: String,
    pub(crate) dtype: String,
    pub(crate) threads: Option<usize>,
    namespace: Option<String>,
    offline: bool,
    output_stride: Option<usize>,
    scales: Option<Vec<f64>>,
    flip: bool,
    tile: Option<(usize, usize)>,
    overlap: usize,
}

impl Arguments {
    /// How images are segmented.
    fn options(&self, precision: Precision) -> candle_deeplab::Result<Options> {
        let tiles = self.tile.map(|(height, width)| Tiles::new(height, width, self.overlap)).transpose()?;
        Ok(Options {
            output_stride: self.output_stride,
            precision,
            scales: self.scales.clone().unwrap_or_default(),
            flip: self.flip,
            tiles,
            memory_limit: None,
            overlap: self.overlap,
        })
    }
}

/// Loads a model: the one in the box, or one by name or path.
///
/// A name is one that `models()` lists, `ORG/NAME[@REVISION][:FILE]` on the Hugging Face Hub, or an address. Its files are
/// fetched once, verified, converted and kept in the Hub's cache. A path is that of a model directory, or of a checkpoint of
/// another program. The weights are ready when this returns, so that the first image takes no longer than the others.
///
/// Args:
///     model: The name or path; `None` is the small model that is part of this package, for the classes of PASCAL VOC.
///     device: `auto`, `cpu`, `cuda`, `cuda:1`, `metal`: where the network runs. `auto` is the fastest that was built in and
///         works, and always the CPU with `dtype="bf16"`.
///     dtype: `f32`, or `bf16` on CPUs with AVX512_BF16: the numbers that matrix products multiply.
///     threads: How many threads compute; by default one for each core, or `RAYON_NUM_THREADS`. Models with the same number
///         share them.
///     namespace: A user or organisation on the Hub whose models of our names come first.
///     offline: Whether the network may not be used.
///     output_stride: 8, 16 or 32, if not the model's own: less is finer and slower.
///     scales: Scales at which the network looks at an image, each above 0 and at most 8; its answers are averaged.
///     flip: Whether it looks at the mirror image, too.
///     tile: Height and width, or one number for both: images are cut into tiles that go through the network at their own
///         size.
///     overlap: Pixels that neighbouring tiles share.
///
/// Raises:
///     ModelError: There is no such model, it is damaged, or it cannot run like this or here.
///     DownloadError: The model is not on this machine, and the network does not give it.
///     ConvertError: Its checkpoint cannot be converted.
///     ValueError: An argument is not one of those above.
#[pyfunction]
#[pyo3(signature = (
    model = None, *, device = "auto", dtype = "f32", threads = None, namespace = None, offline = false,
    output_stride = None, scales = None, flip = false, tile = None, overlap = 64
))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub(crate) fn load(
    py: Python<'_>,
    model: Option<PathBuf>,
    device: &str,
    dtype: &str,
    threads: Option<i64>,
    namespace: Option<String>,
    offline: bool,
    output_stride: Option<i64>,
    scales: Option<Vec<f64>>,
    flip: bool,
    tile: Option<Sides>,
    overlap: i64,
) -> PyResult<Model> {
    let threads = threads.map(|threads| count("threads", threads)).transpose()?;
    let output_stride = output_stride.map(|stride| count("output_stride", stride)).transpose()?;
    let overlap = count("overlap", overlap)?;
    if threads.is_some_and(|threads| !(1..=MOST_THREADS).contains(&threads)) {
        return Err(PyValueError::new_err(format!("`threads` is a number from 1 to {MOST_THREADS}")));
    }
    let tile = tile.map(|tile| tile.checked("tile")).transpose()?;
    let (model, device, dtype) = (zoo::name(model)?, device.to_owned(), dtype.to_owned());
    let arguments =
        Arguments { model, device, dtype, threads, namespace, offline, output_stride, scales, flip, tile, overlap };
    let precision = device::precision(&arguments.dtype)?;
    let options = arguments.options(precision).map_err(errors::model)?;
    let chosen = device::choose(py, &arguments.device, precision)?;
    // Last, since the model may have to be downloaded.
    let files = zoo::resolve(py, &arguments.model, arguments.namespace.clone(), offline)?;
    let device = chosen.device;
    let engine = wait::in_pool(py, threads.unwrap_or(pool::DEFAULT), "loading the model", move || {
        let model = files.load(&device).map_err(errors::hub)?;
        Engine::new(model, options).map_err(errors::model)
    })?;
    Ok(Model::new(Arc::new(engine), arguments, chosen.name.to_string()))
}
