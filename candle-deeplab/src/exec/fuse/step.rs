//! One step of a fused network.

use std::fmt;

use super::{FusedConv, FusedDepthwise};
use crate::graph::{Activation, Value, Windows};

/// A step: an operation, its operands and its result.
#[derive(Debug)]
pub(crate) struct Step {
    /// The node that does most of the step's work: its path is the step's name.
    pub(crate) node: Value,
    pub(crate) operation: Operation,
    pub(crate) input: Operand,
    /// What is added to a convolution's result before it is clamped (a residual); or the second operand of a sum or a
    /// product.
    pub(crate) other: Option<Operand>,
    pub(crate) output: Operand,
}

/// What a step computes.
#[derive(Debug)]
pub(crate) enum Operation {
    /// A convolution, dense or in groups. A 1×1 convolution may have absorbed the depthwise convolution before it,
    /// whose result is then stored nowhere.
    Conv {
        depthwise: Option<FusedDepthwise>,
        conv: FusedConv,
    },
    /// A depthwise convolution that no other convolution could absorb.
    Depthwise(FusedDepthwise),
    /// An activation that no convolution could absorb.
    Activation(Activation),
    Copy,
    Add,
    /// Multiplication by a value of the same size, or by one number for each channel.
    Multiply,
    /// A bilinear resize to the size of the output.
    Resize {
        align_corners: bool,
    },
    MaxPool(Windows),
    /// The mean over height and width.
    GlobalPool,
}

/// Some channels of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operand {
    pub(crate) map: usize,
    /// The first channel.
    pub(crate) offset: usize,
    pub(crate) channels: usize,
}

impl Step {
    /// The operands that it reads, and its result.
    pub(crate) fn operands(&self) -> impl Iterator<Item = Operand> + use<> {
        [Some(self.input), self.other, Some(self.output)].into_iter().flatten()
    }
}

impl Operation {
    /// The windows over the step's input, where it is not computed pixel by pixel.
    pub(crate) fn windows(&self) -> Option<Windows> {
        match self {
            Self::Conv { depthwise: Some(depthwise), .. } | Self::Depthwise(depthwise) => {
                Some(depthwise.conv.conv.windows())
            }
            Self::Conv { depthwise: None, conv } => Some(conv.conv.windows()),
            Self::MaxPool(windows) => Some(*windows),
            _ => None,
        }
    }

    /// Multiply-adds per pixel of the result.
    pub(crate) fn macs_per_pixel(&self) -> usize {
        match self {
            Self::Conv { depthwise, conv } => conv.weights() + depthwise.as_ref().map_or(0, |d| d.conv.weights()),
            Self::Depthwise(depthwise) => depthwise.conv.weights(),
            _ => 0,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = self.windows().map_or(1, |windows| windows.kernel);
        match self {
            Self::Conv { depthwise: Some(_), .. } => write!(f, "depthwise {side}×{side} + 1×1"),
            Self::Conv { depthwise: None, .. } => write!(f, "conv {side}×{side}"),
            Self::Depthwise(_) => write!(f, "depthwise {side}×{side}"),
            Self::Activation(Activation::Relu | Activation::Relu6) => f.write_str("activation"),
            Self::Activation(Activation::HardSwish) => f.write_str("hard-swish"),
            Self::Activation(Activation::HardSigmoid) => f.write_str("hard-sigmoid"),
            Self::Copy => f.write_str("copy"),
            Self::Add => f.write_str("add"),
            Self::Multiply => f.write_str("multiply"),
            Self::Resize { .. } => f.write_str("resize"),
            Self::MaxPool(_) => f.write_str("max pool"),
            Self::GlobalPool => f.write_str("global pool"),
        }
    }
}
