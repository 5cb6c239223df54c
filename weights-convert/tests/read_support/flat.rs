//! A writer of small FlatBuffers, and of a TFLite model with one convolution.

/// A value in a FlatBuffer.
#[derive(Clone)]
pub(crate) enum Value {
    U8(u8),
    I32(i32),
    U64(u64),
    Bytes(Vec<u8>),
    I32s(Vec<i32>),
    I64s(Vec<i64>),
    Tables(Vec<Value>),
    /// Fields by their numbers.
    Table(Vec<(usize, Value)>),
}

use Value::{Bytes, I32, I32s, I64s, Table, Tables, U8};

impl Value {
    fn inline(&self) -> Vec<u8> {
        match self {
            U8(v) => vec![*v],
            I32(v) => v.to_le_bytes().to_vec(),
            Value::U64(v) => v.to_le_bytes().to_vec(),
            _ => vec![0; 4], // an offset, filled in when its target is written
        }
    }
}

/// Appends a value that is reached by an offset, and returns where it begins.
fn push(out: &mut Vec<u8>, value: &Value) -> usize {
    match value {
        U8(_) | I32(_) | Value::U64(_) => unreachable!("a scalar stands in its table"),
        Bytes(bytes) => {
            let at = out.len();
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(bytes);
            at
        }
        I32s(values) => {
            let at = out.len();
            out.extend((values.len() as u32).to_le_bytes());
            out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            at
        }
        I64s(values) => {
            let at = out.len();
            out.extend((values.len() as u32).to_le_bytes());
            out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            at
        }
        Tables(tables) => {
            let at = out.len();
            out.extend((tables.len() as u32).to_le_bytes());
            out.resize(out.len() + 4 * tables.len(), 0);
            for (i, table) in tables.iter().enumerate() {
                link(out, at + 4 + 4 * i, table);
            }
            at
        }
        Table(fields) => {
            let slots = fields.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
            let mut places = vec![0u16; slots];
            let mut body = vec![0; 4];
            for (id, value) in fields {
                places[*id] = body.len() as u16;
                body.extend(value.inline());
            }
            let vtable = 4 + 2 * slots;
            out.extend((vtable as u16).to_le_bytes());
            out.extend((body.len() as u16).to_le_bytes());
            out.extend(places.iter().flat_map(|v| v.to_le_bytes()));
            let at = out.len();
            body[..4].copy_from_slice(&(vtable as i32).to_le_bytes());
            out.extend(&body);
            for (id, value) in fields {
                if !matches!(value, U8(_) | I32(_) | Value::U64(_)) {
                    link(out, at + usize::from(places[*id]), value);
                }
            }
            at
        }
    }
}

fn link(out: &mut Vec<u8>, from: usize, value: &Value) {
    let to = push(out, value);
    out[from..from + 4].copy_from_slice(&((to - from) as u32).to_le_bytes());
}

/// A TFLite file with this root table.
pub(crate) fn file(root: &Value) -> Vec<u8> {
    let mut out = vec![0; 8];
    out[4..8].copy_from_slice(b"TFL3");
    link(&mut out, 0, root);
    out
}

/// What a test may change about the model.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) weights_name: &'static str,
    pub(crate) weights_shape: Vec<i32>,
    pub(crate) weights_type: u8,
    pub(crate) weights_data: Vec<u8>,
    pub(crate) weights_buffer: i32,
    pub(crate) quantization: Option<Quantization>,
    pub(crate) buffer_offset: u64,
    pub(crate) stride: i32,
    pub(crate) dilation: i32,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            weights_name: "conv/weights",
            weights_shape: vec![1, 1, 1, 3],
            weights_type: 0,
            weights_data: [1.0f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect(),
            weights_buffer: 1,
            quantization: None,
            buffer_offset: 0,
            stride: 2,
            dilation: 4,
        }
    }
}

/// What a tensor's integers stand for.
#[derive(Clone)]
pub(crate) struct Quantization {
    pub(crate) scales: Vec<f32>,
    pub(crate) zero_points: Vec<i64>,
    pub(crate) axis: i32,
}

fn tensor(name: &str, shape: &[i32], dtype: u8, buffer: i32, quantization: &Option<Quantization>) -> Value {
    let mut fields = vec![(0, I32s(shape.to_vec())), (1, U8(dtype)), (2, I32(buffer)), (3, Bytes(name.into()))];
    if let Some(Quantization { scales, zero_points, axis }) = quantization {
        let scales = scales.iter().map(|scale| scale.to_bits().cast_signed()).collect();
        fields.push((4, Table(vec![(2, I32s(scales)), (3, I64s(zero_points.clone())), (6, I32(*axis))])));
    }
    Table(fields)
}

impl Model {
    /// CONV_2D of an image `[1, 33, 65, 3]` with one output channel and a bias.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let graph = Table(vec![
            (
                0,
                Tables(vec![
                    tensor("image", &[1, 33, 65, 3], 0, 0, &None),
                    tensor(
                        self.weights_name,
                        &self.weights_shape,
                        self.weights_type,
                        self.weights_buffer,
                        &self.quantization,
                    ),
                    tensor("conv/bias", &[1], 0, 2, &None),
                    tensor("output", &[1, 17, 33, 1], 0, 0, &None),
                    tensor("paddings", &[1], 0, 2, &None),
                ]),
            ),
            (1, I32s(vec![0])),
            (2, I32s(vec![3])),
            (
                3,
                Tables(vec![Table(vec![
                    (0, I32(0)),
                    (1, I32s(vec![0, 1, 2])),
                    (2, I32s(vec![3])),
                    (3, U8(1)),
                    (4, Table(vec![(1, I32(self.stride)), (2, I32(1)), (4, I32(self.dilation)), (5, I32(1))])),
                ])]),
            ),
        ]);
        let buffers = Tables(vec![
            Table(vec![]),
            Table(vec![(0, Bytes(self.weights_data.clone())), (1, Value::U64(self.buffer_offset))]),
            Table(vec![(0, Bytes(0.5f32.to_le_bytes().to_vec()))]),
        ]);
        let codes = Tables(vec![Table(vec![(0, U8(3)), (3, I32(3))])]);
        file(&Table(vec![(0, I32(3)), (1, codes), (2, Tables(vec![graph])), (4, buffers)]))
    }
}
