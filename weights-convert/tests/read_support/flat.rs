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
    /// A list that names one table so many times.
    Repeated(Box<Value>, usize),
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
        Value::Repeated(table, count) => {
            let at = out.len();
            out.extend((*count as u32).to_le_bytes());
            out.resize(out.len() + 4 * count, 0);
            let to = push(out, table);
            for i in 0..*count {
                let from = at + 4 + 4 * i;
                out[from..from + 4].copy_from_slice(&((to - from) as u32).to_le_bytes());
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
    pub(crate) image_type: u8,
    pub(crate) image_quantization: Option<Quantization>,
    /// The number of an operator between the image and the convolution.
    pub(crate) before: Option<i32>,
    pub(crate) resizes: Vec<Resize>,
    /// An operator that TFLite does not know itself.
    pub(crate) custom: Option<&'static str>,
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
            image_type: 0,
            image_quantization: None,
            before: None,
            resizes: vec![],
            custom: None,
        }
    }
}

/// A RESIZE_BILINEAR: height and width before and after, `align_corners`, `half_pixel_centers`.
#[derive(Clone, Copy)]
pub(crate) struct Resize {
    pub(crate) from: [i32; 2],
    pub(crate) to: [i32; 2],
    pub(crate) options: Option<[bool; 2]>,
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
    /// CONV_2D of an image `[1, 33, 65, 3]` with one output channel and a bias, and what a test wants beside it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        const CONV_2D: i32 = 3;
        const RESIZE_BILINEAR: i32 = 23;
        const CUSTOM: i32 = 32;
        let image = |name: &str| tensor(name, &[1, 33, 65, 3], self.image_type, 0, &self.image_quantization);
        let mut tensors = vec![
            image("image"),
            tensor(self.weights_name, &self.weights_shape, self.weights_type, self.weights_buffer, &self.quantization),
            tensor("conv/bias", &[1], 0, 2, &None),
            tensor("output", &[1, 17, 33, 1], 0, 0, &None),
            tensor("paddings", &[1], 0, 2, &None),
        ];
        let operator = |code: usize, inputs: Vec<i32>, output: usize, options: Option<(u8, Value)>| {
            let mut fields = vec![(0, I32(code as i32)), (1, I32s(inputs)), (2, I32s(vec![output as i32]))];
            fields.extend(options.into_iter().flat_map(|(kind, options)| [(3, U8(kind)), (4, options)]));
            Table(fields)
        };
        let mut codes = vec![CONV_2D];
        let mut operators = vec![];
        let mut data = 0;
        if let Some(code) = self.before {
            (data, codes) = (tensors.len() as i32, vec![CONV_2D, code]);
            operators.push(operator(1, vec![0], tensors.len(), None));
            tensors.push(image("between"));
        }
        let strides = Table(vec![(1, I32(self.stride)), (2, I32(1)), (4, I32(self.dilation)), (5, I32(1))]);
        operators.push(operator(0, vec![data, 1, 2], 3, Some((1, strides))));
        for Resize { from, to, options } in &self.resizes {
            let (first, map) = (tensors.len(), |[h, w]: [i32; 2]| tensor("map", &[1, h, w, 1], 0, 0, &None));
            tensors.extend([map(*from), map(*to)]);
            let options = options.map(|[align, half]| (15, Table(vec![(2, U8(align.into())), (3, U8(half.into()))])));
            operators.push(operator(codes.len(), vec![first as i32], first + 1, options));
        }
        codes.push(RESIZE_BILINEAR);
        let code = |code: i32| Table(vec![(0, U8(code as u8)), (3, I32(code))]);
        let mut codes: Vec<Value> = codes.into_iter().map(code).collect();
        if let Some(name) = self.custom {
            operators.push(operator(codes.len(), vec![0], 3, None));
            codes.push(Table(vec![(0, U8(CUSTOM as u8)), (1, Bytes(name.into())), (3, I32(CUSTOM))]));
        }
        let graph = Table(vec![(0, Tables(tensors)), (1, I32s(vec![0])), (2, I32s(vec![3])), (3, Tables(operators))]);
        let buffers = Tables(vec![
            Table(vec![]),
            Table(vec![(0, Bytes(self.weights_data.clone())), (1, Value::U64(self.buffer_offset))]),
            Table(vec![(0, Bytes(0.5f32.to_le_bytes().to_vec()))]),
        ]);
        file(&Table(vec![(0, I32(3)), (1, Tables(codes)), (2, Tables(vec![graph])), (4, buffers)]))
    }
}
