//! A segmented image, as Python sees it.

use std::path::PathBuf;
use std::sync::Arc;

use candle_deeplab::graph::Size;
use candle_deeplab::mask::Style;
use candle_deeplab::segment::Segmented;
use numpy::ndarray::ArrayView2;
use numpy::{PyArray2, PyArray3, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::arguments::count;
use crate::format::Content;
use crate::{arrays, errors, json, output, wait};

/// The class of each pixel of an image, with the image and the classes' names and colours.
///
/// `Model.segment` makes one. What it gives is what the program `segment` writes, byte for byte.
#[pyclass(frozen, module = "candle_deeplab")]
pub(crate) struct Segmentation {
    found: Arc<Segmented>,
    /// The image's name in documents.
    name: String,
    /// The number of the pool that draws and encodes.
    pool: usize,
}

impl Segmentation {
    pub(crate) fn new(found: Segmented, name: String, pool: usize) -> Self {
        Self { found: Arc::new(found), name, pool }
    }

    /// Makes something of it, in the pool.
    fn make<R: Send + 'static>(
        &self,
        py: Python<'_>,
        what: &'static str,
        work: impl FnOnce(&Segmented) -> PyResult<R> + Send + 'static,
    ) -> PyResult<R> {
        let found = self.found.clone();
        wait::in_pool(py, self.pool, what, move || work(&found))
    }
}

#[pymethods]
impl Segmentation {
    /// The class of each pixel: uint8 [H, W], read-only. It is the segmentation's own memory, without a copy.
    #[getter]
    fn ids<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyArray2<u8>>> {
        let map = slf.get().found.segmentation.label_map();
        let Size { height, width } = map.size();
        let ids = ArrayView2::from_shape((height, width), map.ids()).map_err(errors::output)?;
        // SAFETY: the array keeps this object alive, which is frozen and owns the ids: nothing moves, changes or frees them
        // as long as the array is there. Nobody writes into them through the array, either, since it is made read-only here.
        let ids = unsafe { PyArray2::borrow_from_array(&ids, slf.clone().into_any()) };
        ids.try_readwrite()?.make_nonwriteable();
        Ok(ids)
    }

    /// The name of each class, by its id.
    #[getter]
    fn labels(&self) -> Vec<String> {
        self.found.segmentation.labels().names.clone()
    }

    /// Width and height in pixels, as PIL has them.
    #[getter]
    fn size(&self) -> (u32, u32) {
        (self.found.segmentation.width(), self.found.segmentation.height())
    }

    /// How many tiles the image was cut into because memory was short; `None` if it was not.
    #[getter]
    fn tiles(&self) -> Option<usize> {
        self.found.tiled.map(|(_, count)| count)
    }

    /// The share of the pixels of each class in the image, by its name, the largest first. The shares sum up to 1.
    #[getter]
    fn shares<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = self.make(py, "counting the pixels", |found| Ok(found.segmentation.found()))?;
        let shares = PyDict::new(py);
        // Some data sets have several classes of one name.
        let mut named: Vec<(&str, f64)> = vec![];
        for class in &found {
            match named.iter_mut().find(|(name, _)| *name == class.name) {
                Some((_, share)) => *share += class.share,
                None => named.push((&class.name, class.share)),
            }
        }
        named.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        named.into_iter().try_for_each(|(name, share)| shares.set_item(name, share))?;
        Ok(shares)
    }

    /// The probability of each class at each pixel: float32 [H, W, classes].
    ///
    /// Raises:
    ///     ValueError: They were not kept: `segment(image, probabilities=True)` keeps them.
    fn probabilities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray3<f32>>> {
        let (values, shape) = self.make(py, "computing the probabilities", |found| {
            let Some(scores) = &found.scores else {
                let reason = "the probabilities were not kept: call `segment(image, probabilities=True)`";
                return Err(PyValueError::new_err(reason));
            };
            let Size { height, width } = scores.image();
            let values = scores.probabilities_by_pixel().map_err(errors::model)?;
            Ok((values, (height, width, scores.classes())))
        })?;
        arrays::array(py, values, shape)
    }

    /// The photograph with the classes' colours over it, their outlines and names: uint8 [H, W, 3].
    ///
    /// Args:
    ///     opacity: How much the colours cover the photograph, from 0 to 1.
    #[pyo3(signature = (opacity = 0.6))]
    fn overlay<'py>(&self, py: Python<'py>, opacity: f32) -> PyResult<Bound<'py, PyArray3<u8>>> {
        let style = style(opacity)?;
        let picture = self.make(py, "drawing the overlay", move |found| Ok(found.segmentation.overlay(&style)))?;
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        arrays::array(py, picture.into_raw(), (height, width, 3))
    }

    /// The bytes of an indexed PNG: class ids, with the data set's colours as the palette.
    fn mask<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let png = self.make(py, "encoding the mask", |found| {
            let (segmentation, mut png) = (&found.segmentation, vec![]);
            segmentation.label_map().write_mask(segmentation.labels(), &mut png).map_err(errors::output)?;
            Ok(png)
        })?;
        Ok(PyBytes::new(py, &png))
    }

    /// The classes as COCO results, which pycocotools loads: a list with a dictionary for each class but the background, of
    /// `image_id`, `category_id` (the class id), `category_name`, `segmentation` (`size` and compressed `counts`) and `score`.
    /// The score is the mean probability of the class over its pixels if the probabilities were kept, and else 1.
    ///
    /// Args:
    ///     image_id: The image's number.
    #[pyo3(signature = (image_id = 1))]
    fn rle<'py>(&self, py: Python<'py>, image_id: i64) -> PyResult<Bound<'py, PyAny>> {
        let image_id = count("image_id", image_id)? as u64;
        let text = self.make(py, "encoding the run lengths", move |found| {
            let (segmentation, mut text) = (&found.segmentation, vec![]);
            let (map, labels) = (segmentation.label_map(), segmentation.labels());
            map.write_rle(labels, image_id, found.scores.as_ref(), &mut text).map_err(errors::output)?;
            Ok(text)
        })?;
        json::to_python(py, &text)
    }

    /// The classes as a GeoJSON feature collection: a MultiPolygon for each class but the background, exact along the pixels'
    /// edges, in pixels from the upper left corner, with `class`, `name`, `color` and `pixels` as properties.
    fn geojson<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = self.make(py, "tracing the polygons", |found| {
            let (segmentation, mut text) = (&found.segmentation, vec![]);
            segmentation.label_map().write_geojson(segmentation.labels(), &mut text).map_err(errors::output)?;
            Ok(text)
        })?;
        json::to_python(py, &text)
    }

    /// Writes a file as the program does: whole or not at all.
    ///
    /// Args:
    ///     path: The file. Its extension chooses PNG, JPEG or WebP for pictures, and must fit the format otherwise.
    ///     format: `overlay`, `contours`, `color` (pictures), `mask`, `ids` (PNG), `json`, `rle` (.json), `geojson` or `npy`,
    ///         which holds class ids, or the probabilities if they were kept.
    ///     opacity: As for `overlay`.
    ///     image_id: As for `rle`.
    ///     replace: Whether a file that is there already is replaced.
    ///
    /// Raises:
    ///     Error: The file exists, or cannot be written.
    ///     ValueError: There is no such format, or the extension is another's.
    #[pyo3(signature = (path, *, format = "overlay", opacity = 0.6, image_id = 1, replace = false))]
    fn save(
        &self,
        py: Python<'_>,
        path: PathBuf,
        format: &str,
        opacity: f32,
        image_id: i64,
        replace: bool,
    ) -> PyResult<()> {
        let image_id = count("image_id", image_id)? as u64;
        let (content, name) = (Content::new(format, &path, style(opacity)?, image_id)?, self.name.clone());
        self.make(py, "writing the file", move |found| {
            output::write(&path, replace, |file| content.write(found, &name, file))
        })
    }

    fn __repr__(&self) -> String {
        let (width, height) = self.size();
        format!("<candle_deeplab.Segmentation of {}: {width}×{height} pixels>", self.name)
    }
}

/// The style of pictures: the program's, at another opacity.
fn style(opacity: f32) -> PyResult<Style> {
    if (0.0..=1.0).contains(&opacity) {
        return Ok(Style { opacity, ..Style::default() });
    }
    Err(PyValueError::new_err(format!("`opacity` is a number from 0 to 1, and not {opacity}")))
}
