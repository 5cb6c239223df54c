//! A model, as Python sees it.

use std::sync::Arc;

use candle_deeplab::segment::Wanted;
use numpy::{PyArray2, PyArray4};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::arrays::{self, Map, Pixels};
use crate::engine::Engine;
use crate::image::Picture;
use crate::load::Arguments;
use crate::segmentation::Segmentation;
use crate::{errors, pool, wait};

/// A network with its weights, ready to segment images of any size. `load` makes one.
///
/// It may be used by several threads at once, and in processes that are forked from this one. A pickled model is its
/// arguments: it is loaded again where it is unpickled.
#[pyclass(frozen, module = "candle_deeplab")]
pub(crate) struct Model {
    engine: Arc<Engine>,
    arguments: Arguments,
    /// The name of the device, which is never `auto`.
    device: String,
}

impl Model {
    pub(crate) fn new(engine: Arc<Engine>, arguments: Arguments, device: String) -> Self {
        Self { engine, arguments, device }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The number of the pool that computes.
    pub(crate) fn pool(&self) -> usize {
        self.arguments.threads.unwrap_or(pool::DEFAULT)
    }

    fn segment_one(&self, image: &Bound<'_, PyAny>, wanted: Wanted) -> PyResult<Segmentation> {
        let picture = Picture::of(image)?;
        let (name, engine) = (picture.name(), self.engine.clone());
        let found = wait::in_pool(image.py(), self.pool(), "segmenting the image", move || {
            engine.segment(picture.read()?, wanted).map_err(errors::model)
        })?;
        Ok(Segmentation::new(found, name, self.pool()))
    }
}

#[pymethods]
impl Model {
    /// The name or path that it was loaded by; `bundled` for the model in the box.
    #[getter]
    pub(crate) fn name(&self) -> &str {
        &self.arguments.model
    }

    /// The name of each class, by its id.
    #[getter]
    fn labels(&self) -> Vec<String> {
        self.engine.model().config().labels.names.clone()
    }

    /// The data set's colour of each class: uint8 [classes, 3], red, green and blue.
    #[getter]
    fn colors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<u8>>> {
        let palette = &self.engine.model().config().labels.palette;
        arrays::array(py, palette.concat(), (palette.len(), 3))
    }

    /// The device that the network runs on, such as `cpu` or `cuda:0`.
    #[getter]
    fn device(&self) -> &str {
        &self.device
    }

    /// The numbers that matrix products multiply: `f32` or `bf16`.
    #[getter]
    fn dtype(&self) -> &str {
        &self.arguments.dtype
    }

    /// The names of the network's intermediate values, for `features`.
    #[getter]
    fn taps(&self) -> Vec<String> {
        self.engine.model().graph().taps().keys().cloned().collect()
    }

    /// Finds the class of each pixel of an image, or of each image of a list.
    ///
    /// Args:
    ///     image: A uint8 array [H, W, 3] (red, green, blue), a PIL image, the path of a file, the content of a file, a tensor
    ///         in the CPU's memory with `__dlpack__` (uint8 [H, W, 3]), or a list or tuple of those.
    ///     probabilities: Whether the probabilities are kept; for `Segmentation.probabilities`, and as the scores of `rle`.
    ///
    /// Returns:
    ///     A segmentation of the image's own size, or a list of them.
    ///
    /// Raises:
    ///     ImageError: A file is no image, or the image takes more memory than there is.
    ///     ModelError: The network fails.
    ///     TypeError, ValueError: An array has another type or shape; the message says what to do.
    #[pyo3(signature = (image, *, probabilities = false))]
    fn segment<'py>(&self, image: &Bound<'py, PyAny>, probabilities: bool) -> PyResult<Bound<'py, PyAny>> {
        let wanted = if probabilities { Wanted::Scores } else { Wanted::LabelMap };
        if image.is_instance_of::<PyList>() || image.is_instance_of::<PyTuple>() {
            let found = image.try_iter()?.map(|image| self.segment_one(&image?, wanted));
            return Ok(PyList::new(image.py(), found.collect::<PyResult<Vec<_>>>()?)?.into_any());
        }
        Ok(Bound::new(image.py(), self.segment_one(image, wanted)?)?.into_any())
    }

    /// Runs the network on preprocessed pixels.
    ///
    /// Args:
    ///     pixels: A float32 array or tensor [N, 3, H, W], preprocessed as the model's `config.json` says. Every value is
    ///         finite.
    ///
    /// Returns:
    ///     The logits at the input's size: float32 [N, classes, H, W].
    ///
    /// Raises:
    ///     ModelError: The network cannot take this size, or has no head.
    ///     TypeError, ValueError: The pixels have another type or shape, or hold NaN or infinity.
    fn logits<'py>(&self, pixels: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray4<f32>>> {
        let (py, engine, pixels) = (pixels.py(), self.engine.clone(), Pixels::of(pixels)?);
        let logits = wait::in_pool(py, self.pool(), "running the network", move || {
            let model = engine.model();
            let logits = model.output(&pixels.into_tensor(model.device())?);
            Map::of(&logits.map_err(errors::model)?)
        })?;
        logits.into_array(py)
    }

    /// Computes intermediate values of the network, and nothing after the last of them.
    ///
    /// Args:
    ///     pixels: As for `logits`.
    ///     taps: Names from `Model.taps`, such as `backbone` or `decoder`.
    ///
    /// Returns:
    ///     A dictionary from each tap's name to its value, in the order of `taps`: float32 [N, C, h, w].
    ///
    /// Raises:
    ///     ModelError: There is no such tap; the message names some that there are. Otherwise as `logits`.
    ///     TypeError, ValueError: As `logits`.
    fn features<'py>(&self, pixels: &Bound<'py, PyAny>, taps: Vec<String>) -> PyResult<Bound<'py, PyDict>> {
        let (py, engine, pixels) = (pixels.py(), self.engine.clone(), Pixels::of(pixels)?);
        let features = PyDict::new(py);
        if taps.is_empty() {
            return Ok(features);
        }
        let (maps, taps) = wait::in_pool(py, self.pool(), "running the network", move || {
            let model = engine.model();
            let names: Vec<&str> = taps.iter().map(String::as_str).collect();
            let values = model.taps(&pixels.into_tensor(model.device())?, &names).map_err(errors::model)?;
            let maps = values.iter().map(Map::of).collect::<PyResult<Vec<_>>>()?;
            Ok((maps, taps))
        })?;
        for (tap, map) in taps.iter().zip(maps) {
            features.set_item(tap, map.into_array(py)?)?;
        }
        Ok(features)
    }

    fn __repr__(&self) -> String {
        let (name, classes) = (&self.arguments.model, self.engine.model().config().labels.names.len());
        format!("<candle_deeplab.Model {name}: {classes} classes, {} on {}>", self.arguments.dtype, self.device)
    }

    /// Pickles the arguments of `load`.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let load = py.import("candle_deeplab")?.getattr("load")?;
        let arguments = self.arguments.clone().into_pyobject(py)?;
        let again = py.import("functools")?.getattr("partial")?.call((load,), Some(&arguments))?;
        Ok((again, PyTuple::empty(py)))
    }
}
