//! Protobuf by hand.

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A field with a number.
pub(crate) fn int(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value as u64)].concat()
}

/// A field of four fixed bytes.
pub(crate) fn fixed32(field: u64, value: u32) -> Vec<u8> {
    [&varint(field << 3 | 5)[..], &value.to_le_bytes()].concat()
}

/// A field with bytes, a string or a message.
pub(crate) fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// TensorShapeProto.
pub(crate) fn shape(dims: &[i64]) -> Vec<u8> {
    dims.iter().flat_map(|&dim| bytes(2, int(1, dim))).collect()
}

/// A Const node as a field of a GraphDef: `value` is its TensorProto but for the type and shape.
pub(crate) fn constant(name: &str, dtype: i64, dims: &[i64], value: &[u8]) -> Vec<u8> {
    let tensor = [int(1, dtype), bytes(2, shape(dims)), value.to_vec()].concat();
    let attr = [bytes(1, "value"), bytes(2, bytes(8, tensor))].concat();
    bytes(1, [bytes(1, name), bytes(2, "Const"), bytes(5, attr)].concat())
}
