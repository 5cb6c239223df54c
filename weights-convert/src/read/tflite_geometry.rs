//! Strides, dilations, weights and the input size of a TFLite graph.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::flatbuffer::{Parsed, Table, Tables};
use super::tflite::Constants;
use super::{ConvGeometry, Format, Geometry};
use crate::{Error, Result};

// BuiltinOperator
const CONV_2D: i32 = 3;
const DEPTHWISE_CONV_2D: i32 = 4;
const DEQUANTIZE: i32 = 6;
const FULLY_CONNECTED: i32 = 9;
const SPACE_TO_BATCH_ND: i32 = 38;
// BuiltinOptions
const CONV_2D_OPTIONS: u8 = 1;
const DEPTHWISE_CONV_2D_OPTIONS: u8 = 2;

/// The operators of a graph.
pub(crate) struct Graph<'a> {
    graph: Table<'a>,
    operators: Vec<Operator<'a>>,
    /// Which operator computes a tensor, of those that matter here.
    made_by: BTreeMap<usize, usize>,
}

struct Operator<'a> {
    code: i32,
    /// Numbers of tensors; `None` for an input that is left out.
    inputs: Vec<Option<usize>>,
    table: Table<'a>,
}

impl<'a> Graph<'a> {
    pub(crate) fn new(model: Table<'a>, graph: Table<'a>) -> Parsed<Self> {
        let codes = model.tables(1)?;
        let mut operators = Vec::new();
        let mut made_by = BTreeMap::new();
        for table in graph.tables(3)?.iter() {
            let table = table?;
            let code = operator_code(codes, table)?;
            // Of the others, nothing is asked.
            if ![CONV_2D, DEPTHWISE_CONV_2D, DEQUANTIZE, FULLY_CONNECTED, SPACE_TO_BATCH_ND].contains(&code) {
                continue;
            }
            if let Some(Ok(output)) = table.i32s(2)?.next().map(usize::try_from) {
                made_by.insert(output, operators.len());
            }
            // The data, the weights and the bias.
            let inputs = table.i32s(1)?.take(3).map(|number| usize::try_from(number).ok()).collect();
            operators.push(Operator { code, inputs, table });
        }
        Ok(Self { graph, operators, made_by })
    }

    /// The tensors that are weights or biases.
    pub(crate) fn weights(&self) -> Parsed<BTreeSet<usize>> {
        let layers =
            self.operators.iter().filter(|op| [CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED].contains(&op.code));
        Ok(layers.flat_map(|op| [op.input(1), op.input(2)]).flatten().map(|n| self.stored(n)).collect())
    }

    /// The tensor that a weight is stored as: half-precision models hold float16 and a DEQUANTIZE.
    fn stored(&self, number: usize) -> usize {
        self.maker(number, DEQUANTIZE).and_then(|op| op.input(0)).unwrap_or(number)
    }

    fn maker(&self, number: usize, code: i32) -> Option<&Operator<'a>> {
        self.operators.get(*self.made_by.get(&number)?).filter(|op| op.code == code)
    }

    /// What the graph tells of its convolutions and of its image input.
    pub(crate) fn geometry(&self, path: &Path, constants: &Constants) -> Result<Geometry> {
        let malformed =
            |what: &str| Error::Malformed { path: path.to_owned(), format: Format::TfLite, what: what.into() };
        let mut geometry = Geometry { input_size: self.input_size().map_err(malformed)?, ..Geometry::default() };
        for op in &self.operators {
            let Some(conv) = op.conv().map_err(malformed)? else {
                continue;
            };
            let Some(weights) = op.input(1).and_then(|n| constants.get(&self.stored(n))) else {
                continue;
            };
            if let Some(bias) = op.input(2).and_then(|n| constants.get(&self.stored(n))) {
                geometry.biases.insert(weights.name.to_owned(), bias.name.to_owned());
            }
            // Older converters leave atrous convolutions as TensorFlow wrote them.
            let block = op.input(0).and_then(|n| self.maker(n, SPACE_TO_BATCH_ND));
            let block = match block {
                None => (1, 1),
                Some(op) => match op.input(1).and_then(|n| self.block_shape(n, constants)) {
                    Some(block) => block,
                    None => continue,
                },
            };
            let product = |a: usize, b: usize| a.checked_mul(b).ok_or_else(|| malformed("a dilation overflows"));
            let dilation = (product(conv.dilation.0, block.0)?, product(conv.dilation.1, block.1)?);
            if !geometry.record(weights.name, ConvGeometry { dilation, ..conv }) {
                return Err(Error::GeometryConflict { path: path.to_owned(), tensor: weights.name.to_owned() });
            }
        }
        Ok(geometry)
    }

    /// A constant of two positive int32.
    fn block_shape(&self, number: usize, constants: &Constants) -> Option<(usize, usize)> {
        let constant = constants.get(&number)?;
        let (values, rest) = self.graph.bytes(constant.place.clone()).as_chunks::<4>();
        if constant.info.dtype != super::DType::I32 || !rest.is_empty() {
            return None;
        }
        match values {
            [y, x] => positive(i32::from_le_bytes(*y)).zip(positive(i32::from_le_bytes(*x))),
            _ => None,
        }
    }

    /// Height and width of the first input, when it is an image `[1, H, W, 3]` of one size.
    fn input_size(&self) -> Parsed<Option<(usize, usize)>> {
        let Some(Ok(number)) = self.graph.i32s(1)?.next().map(usize::try_from) else {
            return Ok(None);
        };
        let input = self.graph.tables(0)?.get(number)?;
        // Where a size may change, the signature has −1 and the shape has a mere example.
        if input.i32s(7)?.any(|dim| dim < 0) {
            return Ok(None);
        }
        Ok(match input.i32s(0)?.take(5).collect::<Vec<_>>()[..] {
            [1, h, w, 3] => positive(h).zip(positive(w)),
            _ => None,
        })
    }
}

impl Operator<'_> {
    fn input(&self, i: usize) -> Option<usize> {
        self.inputs.get(i).copied().flatten()
    }

    /// Stride and dilation of a convolution; `None` for another operator.
    fn conv(&self) -> Parsed<Option<ConvGeometry>> {
        const STRIDE_X: usize = 1;
        const STRIDE_Y: usize = 2;
        let (kind, dilation_x) = match self.code {
            CONV_2D => (CONV_2D_OPTIONS, 4),
            DEPTHWISE_CONV_2D => (DEPTHWISE_CONV_2D_OPTIONS, 5),
            _ => return Ok(None),
        };
        let options = self.table.table(4)?.filter(|_| self.table.u8(3) == Ok(kind));
        let options = options.ok_or("a convolution without options")?;
        let size = |id, default| -> Parsed<usize> {
            positive(options.i32(id, default)?).ok_or("a stride or dilation is not positive")
        };
        Ok(Some(ConvGeometry {
            stride: (size(STRIDE_Y, 0)?, size(STRIDE_X, 0)?),
            dilation: (size(dilation_x + 1, 1)?, size(dilation_x, 1)?),
        }))
    }
}

/// The number of an operator: in files from before 2020 in a byte, since then in an int.
fn operator_code(codes: Tables, operator: Table) -> Parsed<i32> {
    let index = usize::try_from(operator.u32(0)?).unwrap_or(usize::MAX);
    let code = codes.get(index)?;
    Ok(code.i32(3, 0)?.max(i32::from(code.u8(0)?)))
}

fn positive(n: i32) -> Option<usize> {
    usize::try_from(n).ok().filter(|&n| n > 0)
}
