//! What a TFLite graph tells of its network: strides, dilations, weights, resizes, and the image that it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::flatbuffer::{Parsed, Table, Tables};
use super::tensor::{ConvGeometry, Corners, Geometry, InputScale, positive};
use super::tflite_constants::Constants;
use crate::dtype::DType;
use crate::format::Format;
use crate::{Error, Result};

// BuiltinOperator
const CONV_2D: i32 = 3;
const DEPTHWISE_CONV_2D: i32 = 4;
const DEQUANTIZE: i32 = 6;
const FULLY_CONNECTED: i32 = 9;
const RESIZE_BILINEAR: i32 = 23;
const PAD: i32 = 34;
const SPACE_TO_BATCH_ND: i32 = 38;
const QUANTIZE: i32 = 114;
/// Other operators are skipped.
const KNOWN: [i32; 8] =
    [CONV_2D, DEPTHWISE_CONV_2D, DEQUANTIZE, FULLY_CONNECTED, RESIZE_BILINEAR, PAD, SPACE_TO_BATCH_ND, QUANTIZE];
// BuiltinOptions
const CONV_2D_OPTIONS: u8 = 1;
const DEPTHWISE_CONV_2D_OPTIONS: u8 = 2;
const RESIZE_BILINEAR_OPTIONS: u8 = 15;

/// What the compiler for the Edge TPU puts in the place of all operators that the chip runs.
const EDGE_TPU: &str = "edgetpu-custom-op";
/// How many operators may stand between the image and the first convolution; guards against a cycle.
const MAX_CHAIN: usize = 16;

/// The operators of a graph.
pub(crate) struct Operators<'a> {
    graph: Table<'a>,
    operators: Vec<Operator<'a>>,
    /// Which of the operators computes a tensor.
    made_by: BTreeMap<usize, usize>,
}

struct Operator<'a> {
    code: i32,
    /// Numbers of tensors; `None` for an input that is left out.
    inputs: Vec<Option<usize>>,
    output: Option<usize>,
    table: Table<'a>,
}

impl<'a> Operators<'a> {
    pub(crate) fn new(model: Table<'a>, graph: Table<'a>) -> Parsed<Self> {
        let codes = model.tables(1)?;
        let mut operators = Vec::new();
        let mut made_by = BTreeMap::new();
        for table in graph.tables(3)?.iter() {
            let table = table?;
            let code = operator_code(codes, table)?;
            if !KNOWN.contains(&code) {
                continue;
            }
            let output = table.i32s(2)?.next().and_then(|number| usize::try_from(number).ok());
            if let Some(output) = output {
                made_by.insert(output, operators.len());
            }
            // The data, the weights and the bias.
            let inputs = table.i32s(1)?.take(3).map(|number| usize::try_from(number).ok()).collect();
            operators.push(Operator { code, inputs, output, table });
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
        let mut geometry = Geometry {
            input_size: self.input_size().map_err(malformed)?,
            input_scale: self.input_scale().map_err(malformed)?,
            resizes: self.resizes().map_err(malformed)?,
            ..Geometry::default()
        };
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
            let conv = conv.between_blocks(block).ok_or_else(|| malformed("a dilation overflows"))?;
            if !geometry.record(weights.name, conv) {
                return Err(Error::GeometryConflict { path: path.to_owned(), tensor: weights.name.to_owned() });
            }
        }
        Ok(geometry)
    }

    /// A constant of two positive int32.
    fn block_shape(&self, number: usize, constants: &Constants) -> Option<(usize, usize)> {
        let constant = constants.get(&number)?;
        let (values, rest) = self.graph.bytes(constant.place.clone()).as_chunks::<4>();
        if constant.info.dtype != DType::I32 || !rest.is_empty() {
            return None;
        }
        match values {
            [y, x] => positive(i32::from_le_bytes(*y)).zip(positive(i32::from_le_bytes(*x))),
            _ => None,
        }
    }

    /// The number of the first input, which is the image.
    fn image(&self) -> Parsed<Option<usize>> {
        Ok(self.graph.i32s(1)?.next().and_then(|number| usize::try_from(number).ok()))
    }

    /// Height and width of the first input, when it is an image `[1, H, W, 3]` of one size.
    fn input_size(&self) -> Parsed<Option<(usize, usize)>> {
        let Some(number) = self.image()? else { return Ok(None) };
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

    /// The quantisation of the image, where a convolution takes its values without arithmetic in between.
    fn input_scale(&self) -> Parsed<Option<InputScale>> {
        let Some(number) = self.image()? else { return Ok(None) };
        let input = self.graph.tables(0)?.get(number)?;
        let (lowest, highest) = match DType::from_tflite(input.u8(1)?) {
            Some(DType::U8) => (0, 255),
            Some(DType::I8) => (-128, 127),
            _ => return Ok(None),
        };
        let Some(quantization) = input.table(4)? else { return Ok(None) };
        let (mut scales, mut zero_points) = (quantization.f32s(2)?, quantization.i64s(3)?);
        if scales.len() == 0 || !self.convolves(number) {
            return Ok(None);
        }
        if scales.len() > 1 || zero_points.len() > 1 {
            return Err("its image has a scale for each channel, which only weights may have");
        }
        let (scale, zero_point) = (scales.next().unwrap_or_default(), zero_points.next().unwrap_or_default());
        let sound = scale > 0.0 && scale.is_finite() && scale.recip().is_finite();
        if !sound || !(lowest..=highest).contains(&zero_point) {
            return Err("the scale or the zero point of its image is none");
        }
        Ok(Some(InputScale { scale, zero_point, lowest }))
    }

    /// Whether a convolution takes the values of an image without arithmetic in between.
    fn convolves(&self, image: usize) -> bool {
        let convs = self.operators.iter().filter(|op| [CONV_2D, DEPTHWISE_CONV_2D].contains(&op.code));
        convs.filter_map(|op| op.input(0)).any(|mut data| {
            for _ in 0..MAX_CHAIN {
                if data == image {
                    return true;
                }
                let maker = self.made_by.get(&data).and_then(|&number| self.operators.get(number));
                let keeps = |op: &&Operator| [QUANTIZE, DEQUANTIZE, PAD, RESIZE_BILINEAR].contains(&op.code);
                let Some(before) = maker.filter(keeps).and_then(|op| op.input(0)) else { return false };
                data = before;
            }
            false
        })
    }

    /// How the graph's resizes align corners. A resize of one pixel or to the same size gives the same result in every way,
    /// so that it counts only where there is no other.
    fn resizes(&self) -> Parsed<BTreeSet<Corners>> {
        let image = self.image()?;
        let (mut ways, mut idle_ways) = (BTreeSet::new(), BTreeSet::new());
        for op in self.operators.iter().filter(|op| op.code == RESIZE_BILINEAR && op.input(0) != image) {
            let (from, to) = (self.sides(op.input(0))?, self.sides(op.output)?);
            let idle = from
                .zip(to)
                .is_some_and(|(from, to)| from.into_iter().zip(to).all(|(from, to)| from == 1 || from == to));
            if idle { &mut idle_ways } else { &mut ways }.insert(op.corners()?);
        }
        if ways.is_empty() && !idle_ways.contains(&Corners::UpperLeft) && idle_ways.len() == 1 {
            return Ok(idle_ways);
        }
        Ok(ways)
    }

    /// Height and width of a tensor `[N, H, W, C]`.
    fn sides(&self, number: Option<usize>) -> Parsed<Option<[i32; 2]>> {
        let Some(number) = number else { return Ok(None) };
        let shape = self.graph.tables(0)?.get(number)?.i32s(0)?.take(5);
        Ok(match shape.collect::<Vec<_>>()[..] {
            [_, h, w, _] => Some([h, w]),
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

    /// How a resize aligns corners.
    fn corners(&self) -> Parsed<Corners> {
        const ALIGN_CORNERS: usize = 2;
        const HALF_PIXEL_CENTERS: usize = 3;
        // Where all options have their defaults, which are false, they may be left out.
        let options = self.table.table(4)?.filter(|_| self.table.u8(3) == Ok(RESIZE_BILINEAR_OPTIONS));
        let flag = |id| options.map_or(Ok(0), |options| options.u8(id));
        match (flag(ALIGN_CORNERS)? != 0, flag(HALF_PIXEL_CENTERS)? != 0) {
            (true, false) => Ok(Corners::Aligned),
            (false, true) => Ok(Corners::HalfPixel),
            (false, false) => Ok(Corners::UpperLeft),
            (true, true) => Err("a resize has both align_corners and half_pixel_centers"),
        }
    }
}

/// Whether a model was compiled for the Edge TPU: its weights are then in a form that only the chip reads.
pub(crate) fn is_for_edge_tpu(model: Table) -> Parsed<bool> {
    for code in model.tables(1)?.iter() {
        if code?.str(1)? == EDGE_TPU {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The number of an operator: in files from before 2020 in a byte, since then in an int.
fn operator_code(codes: Tables, operator: Table) -> Parsed<i32> {
    let index = usize::try_from(operator.u32(0)?).unwrap_or(usize::MAX);
    let code = codes.get(index)?;
    Ok(code.i32(3, 0)?.max(i32::from(code.u8(0)?)))
}
