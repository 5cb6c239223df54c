//! The protobuf messages of TensorFlow that matter here, by hand: only the fields that are read. Others are
//! skipped by the decoder.
//!
//! Sources: `tensor_bundle.proto`, `tensor_slice.proto`, `tensor_shape.proto`, `tensor.proto`,
//! `attr_value.proto`, `node_def.proto`, `graph.proto` of `tensorflow/core`.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use prost::Message;

use super::tensor::elements;
use super::varint::{take, take_len, take_varint};
use crate::dtype::DType;
use crate::{Error, Result};

/// As many as TensorFlow itself allows.
const MAX_RANK: usize = 254;
/// Far more than any network has; the largest published DeepLab graphs have a few thousand.
const MAX_NODES: usize = 1 << 20;

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

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodeDef {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) op: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) input: Vec<String>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub(crate) attr: BTreeMap<String, AttrValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AttrValue {
    #[prost(message, optional, tag = "1")]
    pub(crate) list: Option<ListValue>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) s: Bytes,
    #[prost(message, optional, tag = "7")]
    pub(crate) shape: Option<Shape>,
    #[prost(message, optional, tag = "8")]
    pub(crate) tensor: Option<TensorProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ListValue {
    #[prost(int64, repeated, tag = "3")]
    pub(crate) i: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorProto {
    #[prost(int32, tag = "1")]
    pub(crate) dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) tensor_shape: Option<Shape>,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) tensor_content: Bytes,
    #[prost(float, repeated, tag = "5")]
    pub(crate) float_val: Vec<f32>,
    #[prost(double, repeated, tag = "6")]
    pub(crate) double_val: Vec<f64>,
    #[prost(int32, repeated, tag = "7")]
    pub(crate) int_val: Vec<i32>,
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub(crate) string_val: Vec<Bytes>,
    #[prost(float, repeated, tag = "9")]
    pub(crate) scomplex_val: Vec<f32>,
    #[prost(int64, repeated, tag = "10")]
    pub(crate) int64_val: Vec<i64>,
    #[prost(bool, repeated, tag = "11")]
    pub(crate) bool_val: Vec<bool>,
    #[prost(double, repeated, tag = "12")]
    pub(crate) dcomplex_val: Vec<f64>,
    #[prost(int32, repeated, tag = "13")]
    pub(crate) half_val: Vec<i32>,
    #[prost(uint32, repeated, tag = "16")]
    pub(crate) uint32_val: Vec<u32>,
    #[prost(uint64, repeated, tag = "17")]
    pub(crate) uint64_val: Vec<u64>,
}

/// The type and the shape of a tensor, with a number of elements that can be counted.
pub(crate) fn dtype_and_shape(
    path: &Path,
    tensor: &str,
    dtype: i32,
    shape: Option<&Shape>,
) -> Result<(DType, Vec<usize>)> {
    let (path, name) = (|| path.to_owned(), || tensor.to_owned());
    let dtype = DType::from_tensorflow(dtype).ok_or_else(|| Error::UnknownDType {
        path: path(),
        tensor: name(),
        code: format!("number {dtype} of TensorFlow"),
    })?;
    let Some(shape) = shape else {
        return Ok((dtype, Vec::new()));
    };
    if shape.unknown_rank || shape.dim.len() > MAX_RANK {
        let what = format!("its shape has {} dimensions or an unknown number of them", shape.dim.len());
        return Err(Error::BadTensor { path: path(), tensor: name(), what });
    }
    let shape = (shape.dim.iter().enumerate())
        .map(|(axis, &Dim { size })| {
            usize::try_from(size).map_err(|_| Error::NegativeDim { path: path(), tensor: name(), axis, size })
        })
        .collect::<Result<Vec<_>>>()?;
    if elements(&shape).and_then(|n| n.checked_mul(dtype.size().unwrap_or(1))).is_none() {
        return Err(Error::ShapeOverflow { path: path(), tensor: name(), shape });
    }
    Ok((dtype, shape))
}

/// The nodes of a GraphDef, or what is wrong with it.
///
/// The outermost level is taken apart by hand: an empty node is two bytes in the file and a hundred in
/// memory, so that they have to be counted while they are decoded.
pub(crate) fn graph_nodes(file: &Bytes) -> Result<Vec<NodeDef>, String> {
    const NODE: u64 = 1;
    let cut = || "it is cut short or no protobuf".to_owned();
    let mut nodes = Vec::new();
    let mut left = &file[..];
    while !left.is_empty() {
        let tag = take_varint(&mut left).ok_or_else(cut)?;
        let skipped = match tag & 7 {
            0 => take_varint(&mut left).map(drop),
            1 => take(&mut left, 8).map(drop),
            5 => take(&mut left, 4).map(drop),
            2 => {
                let len = take_len(&mut left).ok_or_else(cut)?;
                let start = file.len() - left.len();
                take(&mut left, len).ok_or_else(cut)?;
                if tag >> 3 == NODE {
                    if nodes.len() >= MAX_NODES {
                        return Err(format!("it has more than {MAX_NODES} nodes"));
                    }
                    let node = NodeDef::decode(file.slice(start..start + len));
                    nodes.push(node.map_err(|e| format!("its node {}: {e}", nodes.len()))?);
                }
                Some(())
            }
            _ => None,
        };
        skipped.ok_or_else(cut)?;
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_no_graph() {
        for bytes in [
            &b"\x0a\xff\xff\xff\xff\x0f"[..],
            b"\x0f",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x0a\x02\x0a\x05",
        ] {
            assert!(graph_nodes(&Bytes::from_static(bytes)).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn groups_within_groups_do_not_exhaust_the_stack() {
        let node = [0x0b; 100_000]; // group after group begins, and none ends
        let mut file = vec![0x0a];
        prost::encoding::encode_varint(node.len() as u64, &mut file);
        file.extend(node);
        assert!(graph_nodes(&file.into()).is_err());
    }

    #[test]
    fn what_is_not_a_node_is_skipped() {
        // versions { producer: 1645 }, then a node with an op
        let nodes = graph_nodes(&Bytes::from_static(b"\x22\x03\x08\xed\x0c\x0a\x03\x12\x01x")).unwrap();
        assert_eq!((nodes.len(), nodes[0].op.as_str()), (1, "x"));
    }
}
