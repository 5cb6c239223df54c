//! The value of a Const node, in any of the ways a GraphDef stores it.
//!
//! Source: `Tensor::FromProto` in `tensorflow/core/framework/tensor.cc`. A value is either raw bytes
//! (`tensor_content`) or a list in the field of its type; a list shorter than the shape repeats its last
//! value, and no list at all means zeros.

use std::path::Path;

use bytes::Bytes;

use super::file::buffer;
use super::tensor::{MAX_UNFOLDED, RawTensor, TensorInfo, elements, positive};
use super::tf_proto::{TensorProto, dtype_and_shape};
use crate::dtype::DType;
use crate::{Error, Result};

/// A constant whose size is checked, not yet unfolded.
pub(crate) struct Constant {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    given: Given,
}

/// The values that stand in the file.
enum Given {
    /// Little endian, one after the other; the last one repeats.
    Numbers(Bytes),
    Strings(Vec<Bytes>),
}

impl Constant {
    pub(crate) fn new(path: &Path, name: &str, proto: TensorProto) -> Result<Self> {
        let (dtype, shape) = dtype_and_shape(path, name, proto.dtype, proto.tensor_shape.as_ref())?;
        let bad = |what: String| Error::BadTensor { path: path.to_owned(), tensor: name.to_owned(), what };
        let count = elements(&shape).unwrap_or(usize::MAX);
        let mismatch = |expected: usize, found: usize| Error::SizeMismatch {
            path: path.to_owned(),
            tensor: name.to_owned(),
            dtype,
            shape: shape.clone(),
            expected: expected as u64,
            found: found as u64,
        };

        let content = &proto.tensor_content;
        let given = match dtype.size() {
            None if !content.is_empty() => return Err(bad("strings stored as `tensor_content` are not read".into())),
            None if proto.string_val.len() > count => {
                return Err(bad(format!("it lists {} strings for {count} elements", proto.string_val.len())));
            }
            None => Given::Strings(proto.string_val),
            Some(element) => {
                let size = count.saturating_mul(element);
                if content.is_empty() {
                    let listed = listed(dtype, &proto)
                        .ok_or_else(|| bad(format!("it lists values that are not of its type {dtype}")))?;
                    if listed.len() > size || listed.len() % element != 0 {
                        return Err(mismatch(size, listed.len()));
                    }
                    Given::Numbers(listed.into())
                } else if content.len() == size {
                    Given::Numbers(content.clone())
                } else {
                    return Err(mismatch(size, content.len()));
                }
            }
        };
        Ok(Self { dtype, shape, given })
    }

    pub(crate) fn info(&self, variable: bool) -> TensorInfo {
        TensorInfo { dtype: self.dtype, shape: self.shape.clone(), variable, quantized: false }
    }

    /// The value with every element spelled out.
    pub(crate) fn unfold(&self, path: &Path, name: &str) -> Result<RawTensor> {
        let count = elements(&self.shape).unwrap_or(usize::MAX);
        let limit = |size: u64| match size {
            MAX_UNFOLDED.. => {
                let (path, tensor) = (path.to_owned(), name.to_owned());
                Err(Error::TensorTooLarge { path, tensor, size, limit: MAX_UNFOLDED })
            }
            _ => Ok(()),
        };
        match &self.given {
            Given::Numbers(given) => {
                let element = self.dtype.size().unwrap_or(1);
                let size = count.saturating_mul(element);
                if size > given.len() {
                    limit(size as u64)?;
                }
                let mut data = buffer(path, size)?;
                data.extend_from_slice(given);
                match given.rchunks_exact(element).next() {
                    Some(last) => {
                        for _ in given.len() / element..count {
                            data.extend_from_slice(last);
                        }
                    }
                    None => data.resize(size, 0),
                }
                Ok(RawTensor::new(&self.info(false), data))
            }
            Given::Strings(given) => {
                let repeated = count.saturating_sub(given.len());
                let last = given.last().map_or(&[][..], |last| last);
                if repeated > 0 {
                    limit(count.saturating_mul(last.len().saturating_add(size_of::<usize>())) as u64)?;
                }
                let (mut data, mut ends) = (Vec::new(), Vec::new());
                for string in given.iter().map(|s| &s[..]).chain(std::iter::repeat_n(last, repeated)) {
                    data.extend_from_slice(string);
                    ends.push(data.len());
                }
                Ok(RawTensor::of_strings(self.shape.clone(), data, ends))
            }
        }
    }

    /// The value as a pair of sizes, when it is two positive integers: a `block_shape`.
    pub(crate) fn size_pair(&self, path: &Path, name: &str) -> Option<(usize, usize)> {
        if self.shape != [2] {
            return None;
        }
        let data = self.unfold(path, name).ok()?.data;
        let values: Vec<i64> = match self.dtype {
            DType::I32 => data.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect(),
            DType::I64 => data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
            _ => return None,
        };
        match values[..] {
            [y, x] => positive(y).zip(positive(x)),
            _ => None,
        }
    }
}

/// The values listed in the field of a type, packed; `None` when one of them is not of the type.
fn listed(dtype: DType, proto: &TensorProto) -> Option<Vec<u8>> {
    /// Small types are listed as int32.
    fn narrow<T: TryFrom<i32>, const N: usize>(values: &[i32], bytes: impl Fn(T) -> [u8; N]) -> Option<Vec<u8>> {
        let packed: Option<Vec<[u8; N]>> = values.iter().map(|&v| T::try_from(v).ok().map(&bytes)).collect();
        packed.map(|p| p.concat())
    }
    fn pack<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Option<Vec<u8>> {
        Some(values.iter().flat_map(|&v| bytes(v)).collect())
    }
    match dtype {
        DType::F32 => pack(&proto.float_val, f32::to_le_bytes),
        DType::F64 => pack(&proto.double_val, f64::to_le_bytes),
        DType::F16 | DType::Bf16 => narrow(&proto.half_val, u16::to_le_bytes),
        DType::I8 => narrow(&proto.int_val, i8::to_le_bytes),
        DType::U8 => narrow(&proto.int_val, u8::to_le_bytes),
        DType::I16 => narrow(&proto.int_val, i16::to_le_bytes),
        DType::U16 => narrow(&proto.int_val, u16::to_le_bytes),
        DType::I32 => pack(&proto.int_val, i32::to_le_bytes),
        DType::I64 => pack(&proto.int64_val, i64::to_le_bytes),
        DType::U32 => pack(&proto.uint32_val, u32::to_le_bytes),
        DType::U64 => pack(&proto.uint64_val, u64::to_le_bytes),
        DType::Bool => pack(&proto.bool_val, |v| [u8::from(v)]),
        DType::Complex64 => pack(&proto.scomplex_val, f32::to_le_bytes),
        DType::Complex128 => pack(&proto.dcomplex_val, f64::to_le_bytes),
        DType::Str => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tf_proto::{Dim, Shape};
    use super::*;

    fn proto(dtype: i32, shape: &[i64]) -> TensorProto {
        let dim = shape.iter().map(|&size| Dim { size }).collect();
        TensorProto { dtype, tensor_shape: Some(Shape { dim, unknown_rank: false }), ..Default::default() }
    }

    fn constant(proto: TensorProto) -> Result<Constant> {
        Constant::new(Path::new("graph.pb"), "c", proto)
    }

    fn unfold(constant: &Constant) -> Result<RawTensor> {
        constant.unfold(Path::new("graph.pb"), "c")
    }

    #[test]
    fn a_splat_may_claim_any_shape_but_is_not_unfolded_beyond_the_limit() {
        let huge = constant(TensorProto { float_val: vec![1.0], ..proto(1, &[1 << 40]) }).unwrap();
        assert!(matches!(unfold(&huge), Err(Error::TensorTooLarge { .. })));
        let huge = constant(TensorProto { string_val: vec!["x".into()], ..proto(7, &[1 << 40]) }).unwrap();
        assert!(matches!(unfold(&huge), Err(Error::TensorTooLarge { .. })));
        assert!(matches!(constant(proto(1, &[1 << 62, 4])), Err(Error::ShapeOverflow { .. })));
        assert!(matches!(constant(proto(1, &[3, -1])), Err(Error::NegativeDim { axis: 1, size: -1, .. })));
    }

    #[test]
    fn content_and_lists_must_fit_the_shape() {
        let long = TensorProto { float_val: vec![1.0; 3], ..proto(1, &[2]) };
        assert!(matches!(constant(long), Err(Error::SizeMismatch { expected: 8, found: 12, .. })));
        let short = TensorProto { tensor_content: vec![0; 7].into(), ..proto(1, &[2]) };
        assert!(matches!(constant(short), Err(Error::SizeMismatch { expected: 8, found: 7, .. })));
        let half_a_number = TensorProto { scomplex_val: vec![1.0], ..proto(8, &[2]) };
        assert!(constant(half_a_number).is_err());
    }

    #[test]
    fn a_listed_value_must_be_of_the_type() {
        assert!(constant(TensorProto { int_val: vec![256], ..proto(4, &[]) }).is_err());
        assert!(constant(TensorProto { half_val: vec![-1], ..proto(19, &[]) }).is_err());
        assert!(matches!(constant(proto(21, &[])), Err(Error::UnknownDType { .. })));
    }

    #[test]
    fn a_block_shape_is_two_positive_integers() {
        let pair = |proto| constant(proto).unwrap().size_pair(Path::new("graph.pb"), "c");
        assert_eq!(pair(TensorProto { int_val: vec![6], ..proto(3, &[2]) }), Some((6, 6)));
        assert_eq!(pair(TensorProto { int64_val: vec![6, 12], ..proto(9, &[2]) }), Some((6, 12)));
        assert_eq!(pair(proto(3, &[2])), None);
        assert_eq!(pair(TensorProto { int_val: vec![6], ..proto(3, &[]) }), None);
    }
}
