//! The network as steps of fused kernels: what runs for any input size. [`lower`](super::lower) makes it,
//! [`plan`](super::plan) fits it to a size.

use std::fmt;

use super::conv::{DenseConv, Rows};
use super::depthwise::DepthwiseConv;
use crate::exec::fuse::Clamp;
use crate::graph::{Value, Windows};

/// A network's steps and the maps between them.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) maps: Vec<Map>,
    pub(super) steps: Vec<Step>,
    /// The logits at the head's resolution.
    pub(super) logits: Operand,
    /// How the logits become the network's output.
    pub(super) output: Resized,
}

/// A feature map in memory. Map 0 is the input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map {
    /// A node with the map's height and width.
    pub(super) size_of: Value,
    pub(super) channels: usize,
}

/// Some channels of a map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand {
    pub(super) map: usize,
    pub(super) offset: usize,
    pub(super) channels: usize,
}

impl Operand {
    /// Part `index` of the operand's channels, cut into `parts`.
    pub(super) fn part(self, index: usize, parts: usize) -> Self {
        let channels = self.channels / parts;
        Self { offset: self.offset + index * channels, channels, ..self }
    }
}

/// A resize at the end of the network, to the size of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resized {
    pub(super) like: Value,
    pub(super) align_corners: bool,
}

/// One kernel call.
#[derive(Debug)]
pub(super) struct Step {
    /// The path of the node whose work this mainly is.
    pub(super) path: String,
    pub(super) kernel: Kernel,
    pub(super) input: Operand,
    /// What is added, a residual or an addition's second operand; or what is multiplied by.
    pub(super) other: Option<Operand>,
    pub(super) output: Operand,
}

/// What a step computes, in whatever form a [plan](super::plan::Geometry) gives it.
#[derive(Debug)]
pub(super) enum Kernel {
    /// Windows are those of the depthwise part, where there is one.
    Dense(DenseConv, Windows),
    Depthwise(DepthwiseConv, Windows),
    Clamp(Clamp),
    HardSwish,
    HardSigmoid,
    Add,
    Multiply,
    Resize {
        align_corners: bool,
    },
    MaxPool(Windows),
    GlobalPool,
}

impl Step {
    /// What it reads and writes.
    pub(super) fn operands(&self) -> impl Iterator<Item = Operand> {
        [Some(self.input), self.other, Some(self.output)].into_iter().flatten()
    }

    /// Multiply-adds of a pixel of the result.
    pub(super) fn macs_per_pixel(&self) -> u64 {
        let macs = match &self.kernel {
            // Not as the weights are packed: bf16 has inputs of zero there.
            Kernel::Dense(DenseConv { weights, rows, .. }, Windows { kernel, .. }) => {
                let products = self.input.channels * weights.outputs();
                match rows {
                    Rows::Depthwise(depthwise) => depthwise.weights.len() + products,
                    Rows::Window => kernel * kernel * products,
                }
            }
            Kernel::Depthwise(conv, _) => conv.weights.len(),
            _ => 0,
        };
        macs as u64
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense(conv, Windows { kernel: k, .. }) => match conv.rows {
                Rows::Depthwise(_) => write!(f, "depthwise {k}×{k} + 1×1"),
                Rows::Window => write!(f, "conv {k}×{k}"),
            },
            Self::Depthwise(_, Windows { kernel: k, .. }) => write!(f, "depthwise {k}×{k}"),
            Self::Clamp(Clamp::NONE) => f.write_str("copy"),
            Self::Clamp(_) => f.write_str("activation"),
            Self::HardSwish => f.write_str("hard-swish"),
            Self::HardSigmoid => f.write_str("hard-sigmoid"),
            Self::Add => f.write_str("add"),
            Self::Multiply => f.write_str("multiply"),
            Self::Resize { .. } => f.write_str("resize"),
            Self::MaxPool(_) => f.write_str("max pool"),
            Self::GlobalPool => f.write_str("global pool"),
        }
    }
}
