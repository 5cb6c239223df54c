//! The protobuf messages of TensorFlow that matter here, by hand: only the fields that are read. Others are
//! skipped by the decoder.
//!
//! Sources: `tensor_bundle.proto`, `tensor_slice.proto`, `tensor_shape.proto`, `tensor.proto`,
//! `types.proto` of `tensorflow/core`.

use std::path::Path;

use prost::Message;

use super::tensor::{MAX_RANK, elements};
use crate::dtype::DType;
use crate::{Error, Result};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BundleHeader {
    #[prost(int32, tag = "1")]
    pub(crate) num_shards: i32,
    /// 0 little, 1 big.
    #[prost(int32, tag = "2")]
    pub(crate) endianness: i32,
    #[prost(message, optional, tag = "3")]
    pub(crate) version: Option<Version>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Version {
    #[prost(int32, tag = "2")]
    pub(crate) min_consumer: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BundleEntry {
    #[prost(int32, tag = "1")]
    pub(crate) dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) shape: Option<Shape>,
    #[prost(int32, tag = "3")]
    pub(crate) shard_id: i32,
    #[prost(int64, tag = "4")]
    pub(crate) offset: i64,
    #[prost(int64, tag = "5")]
    pub(crate) size: i64,
    #[prost(fixed32, tag = "6")]
    pub(crate) crc32c: u32,
    #[prost(message, repeated, tag = "7")]
    pub(crate) slices: Vec<SliceProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SliceProto {
    #[prost(message, repeated, tag = "1")]
    pub(crate) extent: Vec<Extent>,
}

/// The part of one dimension; without a length, all of it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Extent {
    #[prost(int64, tag = "1")]
    pub(crate) start: i64,
    #[prost(int64, optional, tag = "2")]
    pub(crate) length: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Shape {
    #[prost(message, repeated, tag = "2")]
    pub(crate) dim: Vec<Dim>,
    #[prost(bool, tag = "3")]
    pub(crate) unknown_rank: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Dim {
    #[prost(int64, tag = "1")]
    pub(crate) size: i64,
}

/// The type and the shape of a tensor, with a number of elements that can be counted.
pub(crate) fn dtype_and_shape(
    path: &Path,
    tensor: &str,
    dtype: i32,
    shape: Option<&Shape>,
) -> Result<(DType, Vec<usize>)> {
    let sizes = shape.map(|shape| (shape.dim.iter().map(|dim| dim.size).collect(), shape.unknown_rank));
    dtype_and_sizes(path, tensor, dtype, sizes)
}

/// The same for the sizes of a shape, and whether it says that it has an unknown number of them.
pub(crate) fn dtype_and_sizes(
    path: &Path,
    tensor: &str,
    dtype: i32,
    shape: Option<(Vec<i64>, bool)>,
) -> Result<(DType, Vec<usize>)> {
    let (path, name) = (|| path.to_owned(), || tensor.to_owned());
    let dtype = DType::from_tensorflow(dtype).ok_or_else(|| Error::UnknownDType {
        path: path(),
        tensor: name(),
        code: format!("number {dtype} of TensorFlow"),
    })?;
    let Some((sizes, unknown_rank)) = shape else {
        return Ok((dtype, Vec::new()));
    };
    if unknown_rank || sizes.len() > MAX_RANK {
        let what = format!("its shape has more than {MAX_RANK} dimensions or an unknown number of them");
        return Err(Error::BadTensor { path: path(), tensor: name(), what });
    }
    let shape = (sizes.into_iter().enumerate())
        .map(|(axis, size)| {
            usize::try_from(size).map_err(|_| Error::NegativeDim { path: path(), tensor: name(), axis, size })
        })
        .collect::<Result<Vec<_>>>()?;
    if elements(&shape).and_then(|n| n.checked_mul(dtype.size().unwrap_or(1))).is_none() {
        return Err(Error::ShapeOverflow { path: path(), tensor: name(), shape });
    }
    Ok((dtype, shape))
}
