//! What a file says of a tensor, and the tensor itself.

use std::collections::{BTreeMap, BTreeSet};

use super::quantization::Quantization;
use crate::dtype::DType;
use crate::{Error, Result};

/// What a file says of a tensor before its bytes are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Type of the elements.
    pub dtype: DType,
    /// Sizes in the file's own layout; empty for a scalar.
    pub shape: Vec<usize>,
    /// Whether it is a weight of the model. A graph file also holds other constants, such as paddings, block shapes and
    /// axes. In a frozen graph a weight is recognised by its `/read` identity, in a TFLite model as the weights or the
    /// bias of a convolution or of a fully connected layer.
    pub variable: bool,
    /// Whether the integers have a scale and a zero point, and so stand for real numbers (TFLite).
    pub quantized: bool,
}

/// A tensor as the file stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTensor {
    /// Type of the elements.
    pub dtype: DType,
    /// Sizes in the file's own layout; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements in row-major order, little endian, without gaps. Strings lie one after the other, and
    /// [`RawTensor::strings`] splits them.
    pub data: Vec<u8>,
    /// Where each string ends in `data`; empty for every other type.
    ends: Vec<usize>,
    /// How the integers become real numbers, where they are quantised (TFLite).
    quantization: Option<Quantization>,
}

impl RawTensor {
    /// A tensor of any type but strings.
    pub(crate) fn new(info: &TensorInfo, data: Vec<u8>) -> Self {
        Self { dtype: info.dtype, shape: info.shape.clone(), data, ends: Vec::new(), quantization: None }
    }

    /// The same tensor with the quantisation of its integers.
    pub(crate) fn quantized(self, quantization: Option<Quantization>) -> Self {
        Self { quantization, ..self }
    }

    /// A tensor of strings: their bytes, and where in them each one ends.
    pub(crate) fn of_strings(shape: Vec<usize>, data: Vec<u8>, ends: Vec<usize>) -> Self {
        Self { dtype: DType::Str, shape, data, ends, quantization: None }
    }

    /// The elements as `f32`: exact for float32, float16 and bfloat16, rounded to nearest for float64; quantised integers
    /// become the numbers they stand for.
    ///
    /// # Errors
    /// [`Error::WrongDType`] for every other type: an integer without a scale is a counter, and no weight.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        if let Some(quantization) = &self.quantization {
            let shape = &self.shape;
            return Ok(match self.dtype {
                DType::I8 => quantization.to_f32(self.each(|b| i8::from_le_bytes(b).into()), shape),
                DType::U8 => quantization.to_f32(self.each(|b| u8::from_le_bytes(b).into()), shape),
                DType::I16 => quantization.to_f32(self.each(|b| i16::from_le_bytes(b).into()), shape),
                DType::I32 => quantization.to_f32(self.each(|b| i32::from_le_bytes(b).into()), shape),
                DType::I64 => quantization.to_f32(self.each(i64::from_le_bytes), shape),
                found => return Err(Error::WrongDType { found, wanted: "quantised integers" }),
            });
        }
        Ok(match self.dtype {
            DType::F32 => self.map(f32::from_le_bytes),
            #[allow(clippy::cast_possible_truncation)] // rounding is what was asked for
            DType::F64 => self.map(|b| f64::from_le_bytes(b) as f32),
            DType::F16 => self.map(|b| half::f16::from_le_bytes(b).to_f32()),
            DType::Bf16 => self.map(|b| half::bf16::from_le_bytes(b).to_f32()),
            found => {
                return Err(Error::WrongDType { found, wanted: "floating-point numbers" });
            }
        })
    }

    /// The strings, in row-major order.
    ///
    /// # Errors
    /// [`Error::WrongDType`] for every type but strings.
    pub fn strings(&self) -> Result<impl Iterator<Item = &[u8]>> {
        if self.dtype != DType::Str {
            return Err(Error::WrongDType { found: self.dtype, wanted: "strings" });
        }
        let mut start = 0;
        Ok(self.ends.iter().map(move |&end| {
            let string = self.data.get(start..end).unwrap_or_default();
            start = end;
            string
        }))
    }

    fn each<const N: usize, T>(&self, f: impl Fn([u8; N]) -> T) -> impl ExactSizeIterator<Item = T> {
        self.data.as_chunks::<N>().0.iter().map(move |bytes| f(*bytes))
    }

    fn map<const N: usize, T>(&self, f: impl Fn([u8; N]) -> T) -> Vec<T> {
        self.each(f).collect()
    }
}

/// Stride and dilation of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Step between output pixels, (vertical, horizontal).
    pub stride: (usize, usize),
    /// Step between neighbouring elements of the kernel (the atrous rate), (vertical, horizontal).
    pub dilation: (usize, usize),
}

impl ConvGeometry {
    /// The convolution that this one computes between SpaceToBatchND and BatchToSpaceND: the block shape multiplies its
    /// dilation. `None` where that overflows.
    pub(crate) fn between_blocks(self, (y, x): (usize, usize)) -> Option<Self> {
        Some(Self { dilation: (self.dilation.0.checked_mul(y)?, self.dilation.1.checked_mul(x)?), ..self })
    }
}

/// How a bilinear resize aligns the pixels of its output with those of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Corners {
    /// The centres of the corner pixels coincide: `align_corners`.
    Aligned,
    /// The outer corners of the corner pixels coincide: `half_pixel_centers`, and what PyTorch does without
    /// `align_corners`.
    HalfPixel,
    /// The centres of the upper left pixels coincide and no others: what TensorFlow 1 does without `align_corners`.
    UpperLeft,
}

/// The quantisation of a graph's image input: an integer q stands for `(q − zero_point) · scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputScale {
    /// A finite, positive number.
    pub scale: f32,
    /// The integer that stands for zero.
    pub zero_point: i64,
    /// The smallest integer of the type: 0 for uint8, −128 for int8. It is a black pixel.
    pub lowest: i64,
}

impl InputScale {
    /// The mean of the preprocessing `(pixel − mean) / std` that gives the same numbers, for pixels on 0–255.
    #[allow(clippy::cast_precision_loss)] // zero points are of 8 bits
    pub fn mean(&self) -> f32 {
        (self.zero_point - self.lowest) as f32
    }

    /// The standard deviation of that preprocessing.
    pub fn std(&self) -> f32 {
        self.scale.recip()
    }
}

/// What a graph file tells beyond its tensors; empty for files that hold tensors only.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Geometry {
    /// Height and width of the image that the graph takes, where it takes one size only.
    pub input_size: Option<(usize, usize)>,
    /// The quantisation of that image, where its pixels are integers with a scale (TFLite).
    pub input_scale: Option<InputScale>,
    /// How the graph's resizes align corners (TFLite), except for the resize of the image itself. A resize of one pixel or
    /// to the same size gives the same result in every way, so that it counts only where there is no other.
    pub resizes: BTreeSet<Corners>,
    /// The convolutions, under the names of their weights. A convolution whose weights or whose dilation
    /// are computed by the graph has no entry.
    pub convs: BTreeMap<String, ConvGeometry>,
    /// The names of biases by the names of the weights that they belong to, where one operation has both (TFLite).
    pub biases: BTreeMap<String, String>,
}

impl Geometry {
    /// Records a convolution. False when its weights have another stride or dilation elsewhere in the graph.
    pub(crate) fn record(&mut self, weights: &str, conv: ConvGeometry) -> bool {
        *self.convs.entry(weights.to_owned()).or_insert(conv) == conv
    }
}

/// The most bytes that a tensor may unfold to where the file does not hold all of its elements: a few bytes can claim any
/// shape. The largest kernel of a published network has 19 MB.
pub(crate) const MAX_UNFOLDED: u64 = 32 << 20;
/// Far more tensors than any network has. What is kept of each is larger than the least that a file must say of it.
pub(crate) const MAX_TENSORS: usize = 1 << 16;
/// More dimensions than any weight has.
pub(crate) const MAX_RANK: usize = 32;

/// A size that a file gives as a signed integer; `None` unless it is positive.
pub(crate) fn positive(n: impl TryInto<usize>) -> Option<usize> {
    n.try_into().ok().filter(|&n| n > 0)
}

/// Number of elements of a shape, unless it overflows.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: DType, data: &[u8]) -> RawTensor {
        RawTensor { dtype, shape: vec![], data: data.to_vec(), ends: vec![], quantization: None }
    }

    #[test]
    fn every_floating_point_type_becomes_f32() {
        assert_eq!(tensor(DType::F32, &1.5f32.to_le_bytes()).to_f32().unwrap(), [1.5]);
        assert_eq!(tensor(DType::F64, &(-0.1f64).to_le_bytes()).to_f32().unwrap(), [-0.1]);
        assert_eq!(tensor(DType::F16, &0x3e00u16.to_le_bytes()).to_f32().unwrap(), [1.5]);
        assert_eq!(tensor(DType::Bf16, &0x3fc0u16.to_le_bytes()).to_f32().unwrap(), [1.5]);
    }

    #[test]
    fn an_integer_is_no_float_and_a_float_no_string() {
        let err = tensor(DType::I64, &[0; 8]).to_f32().unwrap_err();
        assert_eq!(err.to_string(), "the tensor holds int64, not floating-point numbers");
        assert!(tensor(DType::F32, &[0; 4]).strings().is_err());
    }

    #[test]
    fn strings_are_told_apart() {
        let raw = RawTensor::of_strings(vec![3], b"abc".to_vec(), vec![1, 1, 3]);
        assert_eq!(raw.strings().unwrap().collect::<Vec<_>>(), [&b"a"[..], b"", b"bc"]);
    }

    #[test]
    fn a_shape_that_overflows_has_no_count() {
        assert_eq!(elements(&[]), Some(1));
        assert_eq!(elements(&[usize::MAX, 2]), None);
    }
}
