//! A fused network with its weights folded and packed for the GPU, for any input size.

use rayon::prelude::*;

use super::arena::ALIGNMENT;
use super::kernels::Number;
use super::part::GROUP;
use crate::error::Result;
use crate::exec::choice::GpuPrecision;
use crate::exec::fold::{Folded, Reader};
use crate::exec::fuse::{Fused, FusedConv, FusedDepthwise, Operation, Step};
use crate::graph::Graph;

/// A network's steps, and where their weights lie.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) fused: Fused,
    /// Where the weights of each step lie.
    pub(super) weights: Vec<StepWeights>,
    /// What maps and the weights of matmuls are stored in.
    pub(super) number: Number,
    /// The only map that is always f32: that of the logits, unless a step needs it in another form.
    wide: Option<usize>,
}

/// Where the weights of a step lie. Offsets are in bytes from the beginning of all weights.
#[derive(Debug)]
pub(super) enum StepWeights {
    None,
    Conv {
        depthwise: Option<DepthwiseWeights>,
        /// One matrix for each group.
        groups: Vec<Matrix>,
    },
    Depthwise(DepthwiseWeights),
}

/// The weights `[pixel of the kernel][channel]` and the bias of a depthwise convolution, f32, with zeros up to a whole
/// [`GROUP`] of channels.
#[derive(Debug)]
pub(super) struct DepthwiseWeights {
    pub(super) weights: usize,
    pub(super) bias: usize,
}

/// The weights `[output][pixel of the kernel][input]` and the bias of a matmul.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) weights: usize,
    pub(super) bias: usize,
    pub(super) outputs: usize,
    /// Inputs of an output, without the zeros behind them.
    pub(super) inputs: usize,
    /// Numbers from one output to the next.
    pub(super) pitch: usize,
}

impl Program {
    /// Fuses a network, and reads, folds and packs its weights with all threads. Returns the weights' bytes, too.
    ///
    /// # Errors
    /// Those of `read`, and those of [`Fused::new`].
    pub(super) fn new(graph: &Graph, precision: GpuPrecision, read: &Reader) -> Result<(Self, Vec<u8>)> {
        let fused = Fused::new(graph)?;
        let number = match precision {
            GpuPrecision::F32 | GpuPrecision::Tf32 => Number::F32,
            GpuPrecision::F16 => Number::F16,
            GpuPrecision::Bf16 => Number::Bf16,
        };
        let mut program = Self { weights: Vec::new(), number, wide: wide(&fused), fused };
        let packed = program.fused.steps.par_iter().map(|step| program.pack(step, read));
        let packed = packed.collect::<Result<Vec<_>>>()?;
        let mut bytes = Vec::new();
        for (Bytes(step), mut weights) in packed {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            weights.shift(bytes.len());
            bytes.extend(step);
            program.weights.push(weights);
        }
        Ok((program, bytes))
    }

    /// What a map is stored in.
    pub(super) fn number_of(&self, map: usize) -> Number {
        if self.wide == Some(map) { Number::F32 } else { self.number }
    }

    fn pack(&self, step: &Step, read: &Reader) -> Result<(Bytes, StepWeights)> {
        let mut bytes = Bytes::default();
        let weights = match &step.operation {
            Operation::Conv { depthwise, conv } => {
                let depthwise = depthwise.as_ref().map(|depthwise| bytes.depthwise(depthwise, read)).transpose()?;
                let numbers = (self.number, self.number_of(step.output.map));
                StepWeights::Conv { depthwise, groups: bytes.matrices(conv, numbers, read)? }
            }
            Operation::Depthwise(depthwise) => StepWeights::Depthwise(bytes.depthwise(depthwise, read)?),
            _ => StepWeights::None,
        };
        Ok((bytes, weights))
    }
}

impl StepWeights {
    /// Adds to all offsets.
    fn shift(&mut self, by: usize) {
        match self {
            Self::None => {}
            Self::Conv { depthwise, groups } => {
                depthwise.iter_mut().for_each(|weights| weights.shift(by));
                groups.iter_mut().for_each(|matrix| matrix.shift(by));
            }
            Self::Depthwise(weights) => weights.shift(by),
        }
    }
}

impl DepthwiseWeights {
    fn shift(&mut self, by: usize) {
        self.weights += by;
        self.bias += by;
    }
}

impl Matrix {
    fn shift(&mut self, by: usize) {
        self.weights += by;
        self.bias += by;
    }
}

/// The packed weights of a step.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    /// Appends numbers, and returns where they begin.
    fn put(&mut self, number: Number, values: impl IntoIterator<Item = f32>) -> usize {
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        let offset = self.0.len();
        number.write(values, &mut self.0);
        offset
    }

    fn depthwise(&mut self, depthwise: &FusedDepthwise, read: &Reader) -> Result<DepthwiseWeights> {
        let folded = Folded::new(&depthwise.conv, read)?;
        let (weights, channels) = (folded.by_pixel()?, folded.bias.len());
        let pitch = channels.next_multiple_of(GROUP);
        Ok(DepthwiseWeights {
            weights: self.put(Number::F32, padded(&weights, channels, pitch)),
            bias: self.put(Number::F32, padded(&folded.bias, channels, pitch)),
        })
    }

    /// Packs the matrices of a convolution's groups. Its bias is stored as its result is.
    fn matrices(&mut self, conv: &FusedConv, (number, result): (Number, Number), read: &Reader) -> Result<Vec<Matrix>> {
        let folded = Folded::new(conv, read)?;
        let (groups, inputs) = (conv.conv.groups, conv.kernel_area() * conv.group_inputs);
        let (outputs, pitch) = (conv.conv.out_channels / groups, inputs.next_multiple_of(GROUP));
        let matrix = |group: usize| -> Result<Matrix> {
            let range = group * outputs..(group + 1) * outputs;
            let rows = folded.rows(range.clone(), conv.group_inputs)?;
            let weights = self.put(number, padded(&rows, inputs, pitch));
            let bias = self.put(result, folded.bias[range].iter().copied());
            Ok(Matrix { weights, bias, outputs, inputs, pitch })
        };
        (0..groups).map(matrix).collect()
    }
}

/// Rows of `len` numbers, each with zeros behind it up to `pitch`.
fn padded(rows: &[f32], len: usize, pitch: usize) -> impl Iterator<Item = f32> {
    rows.chunks_exact(len).flat_map(move |row| row.iter().copied().chain(std::iter::repeat_n(0.0, pitch - len)))
}

/// The map of the logits, if one matmul writes all of it and no step reads it: it may then be f32 at no cost, and classes
/// are told apart that would be equal in 16 bits.
fn wide(fused: &Fused) -> Option<usize> {
    let map = fused.logits.map;
    let mut writers = fused.steps.iter().filter(|step| step.output.map == map);
    let (writer, other) = (writers.next()?, writers.next());
    let is_matmul = matches!(writer.operation, Operation::Conv { .. }) && writer.other.is_none();
    let reads = |step: &Step| step.input.map == map || step.other.is_some_and(|other| other.map == map);
    (is_matmul && other.is_none() && !fused.steps.iter().any(reads)).then_some(map)
}
