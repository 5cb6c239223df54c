//! Tensors as arrays, and arrays as tensors.

use candle_core::{DType, Device, Tensor};
use numpy::ndarray::{Array, IntoDimension};
use numpy::{Element, IntoPyArray, PyArray, PyArray4, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors;

/// Preprocessed pixels `[N, 3, H, W]`.
pub(crate) struct Pixels {
    values: Vec<f32>,
    shape: [usize; 4],
}

impl Pixels {
    /// The pixels in an object of Python. Which objects they can be, `_inputs.py` says.
    ///
    /// # Errors
    /// `TypeError` and `ValueError`, which say what is wanted.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let inputs = object.py().import("candle_deeplab._inputs")?;
        let array: Bound<'_, PyArray4<f32>> = inputs.call_method1("pixels", (object,))?.cast_into()?;
        let &[images, channels, height, width] = array.shape() else {
            return Err(PyValueError::new_err("the pixels are no array [N, 3, H, W]"));
        };
        let values = array.try_readonly()?.as_slice()?.to_vec();
        Ok(Self { values, shape: [images, channels, height, width] })
    }

    /// The pixels as a tensor.
    ///
    /// # Errors
    /// `ValueError` for NaN and infinity, which networks would clamp and so hide; those of the device.
    pub(crate) fn into_tensor(self, device: &Device) -> PyResult<Tensor> {
        if let Some(value) = self.values.iter().find(|value| !value.is_finite()) {
            return Err(PyValueError::new_err(format!("the pixels hold {value}: every value must be a finite number")));
        }
        let [images, channels, height, width] = self.shape;
        let tensor = Tensor::from_vec(self.values, (images, channels, height, width), device);
        tensor.map_err(|error| errors::model(error.into()))
    }
}

/// A feature map `[N, C, H, W]` of the network.
pub(crate) struct Map {
    values: Vec<f32>,
    shape: [usize; 4],
}

impl Map {
    /// The values of a tensor, wherever it is.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn of(tensor: &Tensor) -> PyResult<Self> {
        let read = || {
            let (images, channels, height, width) = tensor.dims4()?;
            let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            Ok::<_, candle_core::Error>(Self { values, shape: [images, channels, height, width] })
        };
        read().map_err(|error| errors::model(error.into()))
    }

    /// The array, which owns the values.
    ///
    /// # Errors
    /// As [`array`].
    pub(crate) fn into_array(self, py: Python<'_>) -> PyResult<Bound<'_, PyArray4<f32>>> {
        array(py, self.values, self.shape)
    }
}

/// An array that owns its values.
///
/// # Errors
/// [`Error`](errors::Error) where the shape has another number of them.
pub(crate) fn array<'py, T: Element, S: IntoDimension>(
    py: Python<'py>,
    values: Vec<T>,
    shape: S,
) -> PyResult<Bound<'py, PyArray<T, S::Dim>>> {
    let array = Array::<T, S::Dim>::from_shape_vec(shape.into_dimension(), values).map_err(errors::output)?;
    Ok(array.into_pyarray(py))
}
