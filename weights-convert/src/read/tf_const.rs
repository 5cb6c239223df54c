//! The value of a Const node, in any of the ways a GraphDef stores it.
//!
//! Source: `Tensor::FromProto` in `tensorflow/core/framework/tensor.cc`, `tensor.proto`. A value is either raw bytes
//! (`tensor_content`) or a list in the field of its type; a list shorter than the shape repeats its last
//! value, and no list at all means zeros.

use std::path::Path;

use bytes::Bytes;

use super::file::buffer;
use super::protobuf::{Fields, NoMessage, Wire, integers};
use super::tensor::{MAX_TENSORS, MAX_UNFOLDED, RawTensor, TensorInfo, elements, positive};
use super::tf_node::sizes;
use super::tf_proto::dtype_and_sizes;
use crate::dtype::DType;
use crate::format::Format;
use crate::{Error, Result};

/// A constant whose size is checked, not yet unfolded.
pub(crate) struct Constant {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    given: Given,
}

/// The values that stand in the file. They stay there until they are read: of a list, an integer of one byte becomes one of
/// eight.
enum Given {
    /// Little endian, one after the other.
    Content(Bytes),
    /// In the list of the type in a TensorProto; the last one repeats.
    Listed(Bytes),
}

impl Constant {
    /// The constant of a TensorProto.
    pub(crate) fn new(path: &Path, name: &str, proto: Bytes) -> Result<Self> {
        let bad = |what: String| Error::BadTensor { path: path.to_owned(), tensor: name.to_owned(), what };
        let cut = |NoMessage| cut(path, name);
        let (mut number, mut shape, mut content) = (0, None, &[][..]);
        for field in Fields::of(&proto) {
            match field.map_err(cut)? {
                // Protobuf's int32 is the lower half of what the wire has.
                #[allow(clippy::cast_possible_truncation)]
                (1, Wire::Varint(value)) => number = value as i32,
                (2, Wire::Bytes(message)) => shape = Some(sizes(message).map_err(cut)?),
                (4, Wire::Bytes(bytes)) => content = bytes,
                _ => {}
            }
        }
        let (dtype, shape) = dtype_and_sizes(path, name, number, shape)?;
        let count = elements(&shape).unwrap_or(usize::MAX);
        let mismatch = |expected: usize, found: usize| Error::SizeMismatch {
            path: path.to_owned(),
            tensor: name.to_owned(),
            dtype,
            shape: shape.clone(),
            expected: expected as u64,
            found: found as u64,
        };

        let given = match dtype.size() {
            None if !content.is_empty() => return Err(bad("strings stored as `tensor_content` are not read".into())),
            None => {
                let listed = strings(&proto).map_err(cut)?.count();
                if listed > count.min(MAX_TENSORS) {
                    return Err(bad(format!("it lists {listed} strings for {count} elements")));
                }
                Given::Listed(proto)
            }
            Some(element) if content.is_empty() => {
                let (mut listed, size) = (0, count.saturating_mul(element));
                let all = numbers(dtype, &proto, |bytes| listed += bytes.len()).map_err(cut)?;
                if !all {
                    return Err(bad(format!("it lists values that are not of its type {dtype}")));
                }
                if listed > size || listed % element != 0 {
                    return Err(mismatch(size, listed));
                }
                Given::Listed(proto)
            }
            Some(element) if content.len() == count.saturating_mul(element) => Given::Content(proto.slice_ref(content)),
            Some(element) => return Err(mismatch(count.saturating_mul(element), content.len())),
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
        let cut = |NoMessage| cut(path, name);
        match (&self.given, self.dtype.size()) {
            (Given::Content(content), _) => {
                let mut data = buffer(path, content.len())?;
                data.extend_from_slice(content);
                Ok(RawTensor::new(&self.info(false), data))
            }
            (Given::Listed(proto), Some(element)) => {
                let size = count.saturating_mul(element);
                // What the list holds of it takes at least an eighth of that in the file.
                if size > proto.len() {
                    limit(size as u64)?;
                }
                let mut data = buffer(path, size)?;
                numbers(self.dtype, proto, |bytes| data.extend_from_slice(bytes)).map_err(cut)?;
                match data.len().checked_sub(element) {
                    Some(last) => {
                        while data.len() < size {
                            data.extend_from_within(last..last + element);
                        }
                    }
                    None => data.resize(size, 0),
                }
                Ok(RawTensor::new(&self.info(false), data))
            }
            (Given::Listed(proto), None) => {
                let last = strings(proto).map_err(cut)?.last().unwrap_or_default();
                let repeated = count.saturating_sub(strings(proto).map_err(cut)?.count());
                if repeated > 0 {
                    limit(count.saturating_mul(last.len().saturating_add(size_of::<usize>())) as u64)?;
                }
                let (mut data, mut ends) = (Vec::new(), Vec::new());
                for string in strings(proto).map_err(cut)?.chain(std::iter::repeat_n(last, repeated)) {
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

fn cut(path: &Path, name: &str) -> Error {
    let what = format!("the constant `{name}` is cut short or no protobuf");
    Error::Malformed { path: path.to_owned(), format: Format::TfGraphDef, what }
}

/// The strings that a TensorProto lists.
fn strings(proto: &[u8]) -> Result<impl Iterator<Item = &[u8]>, NoMessage> {
    const STRINGS: u64 = 8;
    Fields::of(proto).try_for_each(|field| field.map(drop))?;
    Ok(Fields::of(proto).filter_map(|field| match field {
        Ok((STRINGS, Wire::Bytes(string))) => Some(string),
        _ => None,
    }))
}

/// Calls `visit` with the bytes of each number that a TensorProto lists for a type; false where one is not of the type.
#[allow(clippy::cast_possible_truncation)] // what the wire has of protobuf's int32 and uint32 is their lower half
fn numbers(dtype: DType, proto: &[u8], mut visit: impl FnMut(&[u8])) -> Result<bool, NoMessage> {
    let mut all = true;
    let small = |value: u64| value as u32 as i32;
    // Small types are listed as int32.
    macro_rules! narrow {
        ($number:literal, $type:ty) => {
            integers(proto, $number, |value| {
                match <$type>::try_from(small(value)) {
                    Ok(value) => visit(&value.to_le_bytes()),
                    Err(_) => all = false,
                }
                all
            })?
        };
    }
    macro_rules! wide {
        ($number:literal, $convert:expr) => {
            integers(proto, $number, |value| {
                visit(&$convert(value).to_le_bytes());
                true
            })?
        };
    }
    match dtype {
        DType::F32 => fixed::<4>(proto, 5, visit)?,
        DType::F64 => fixed::<8>(proto, 6, visit)?,
        DType::Complex64 => fixed::<4>(proto, 9, visit)?,
        DType::Complex128 => fixed::<8>(proto, 12, visit)?,
        DType::F16 | DType::Bf16 => narrow!(13, u16),
        DType::I8 => narrow!(7, i8),
        DType::U8 => narrow!(7, u8),
        DType::I16 => narrow!(7, i16),
        DType::U16 => narrow!(7, u16),
        DType::I32 => wide!(7, small),
        DType::I64 | DType::U64 => {
            let number = if dtype == DType::I64 { 10 } else { 17 };
            integers(proto, number, |value| {
                visit(&value.to_le_bytes());
                true
            })?;
        }
        DType::U32 => wide!(16, |value: u64| value as u32),
        DType::Bool => wide!(11, |value: u64| u8::from(value != 0)),
        DType::Str => all = false,
    }
    Ok(all)
}

/// Calls `visit` with each number of `N` bytes of a repeated field, packed or not.
fn fixed<const N: usize>(proto: &[u8], number: u64, mut visit: impl FnMut(&[u8])) -> Result<(), NoMessage> {
    for field in Fields::of(proto) {
        match field? {
            (found, Wire::Fixed32(bytes)) if found == number && N == 4 => visit(&bytes),
            (found, Wire::Fixed64(bytes)) if found == number && N == 8 => visit(&bytes),
            (found, Wire::Bytes(packed)) if found == number => {
                let (numbers, rest) = packed.as_chunks::<N>();
                if !rest.is_empty() {
                    return Err(NoMessage);
                }
                numbers.iter().for_each(|bytes| visit(bytes));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::tf_proto::{Dim, Shape};
    use super::*;

    /// `tensor.proto`, to make values of.
    #[derive(Clone, PartialEq, Message)]
    struct TensorProto {
        #[prost(int32, tag = "1")]
        dtype: i32,
        #[prost(message, optional, tag = "2")]
        tensor_shape: Option<Shape>,
        #[prost(bytes = "bytes", tag = "4")]
        tensor_content: Bytes,
        #[prost(float, repeated, tag = "5")]
        float_val: Vec<f32>,
        #[prost(int32, repeated, tag = "7")]
        int_val: Vec<i32>,
        #[prost(bytes = "bytes", repeated, tag = "8")]
        string_val: Vec<Bytes>,
        #[prost(float, repeated, tag = "9")]
        scomplex_val: Vec<f32>,
        #[prost(int64, repeated, tag = "10")]
        int64_val: Vec<i64>,
        #[prost(int32, repeated, tag = "13")]
        half_val: Vec<i32>,
    }

    fn proto(dtype: i32, shape: &[i64]) -> TensorProto {
        let dim = shape.iter().map(|&size| Dim { size }).collect();
        TensorProto { dtype, tensor_shape: Some(Shape { dim, unknown_rank: false }), ..Default::default() }
    }

    fn constant(proto: TensorProto) -> Result<Constant> {
        Constant::new(Path::new("graph.pb"), "c", proto.encode_to_vec().into())
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
