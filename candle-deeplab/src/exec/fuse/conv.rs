//! Convolutions with the nodes that they have absorbed.

use super::Clamp;
use crate::graph::{Conv, Graph, Value};

/// A convolution, the batch norms behind it, which are folded into its weights, and the clamp of its result.
#[derive(Debug, Clone)]
pub(crate) struct FusedConv {
    pub(crate) conv: Conv,
    /// Input channels of a group.
    pub(crate) group_inputs: usize,
    /// The node of the convolution, which has its kernel and bias.
    pub(crate) node: Value,
    /// A batch norm without a convolution is a depthwise 1×1 convolution whose weights are 1: `node` is the norm, and
    /// has no kernel.
    pub(crate) has_kernel: bool,
    /// The nodes of the batch norms, in order, and the epsilon that each adds to the variance.
    pub(crate) norms: Vec<(Value, f64)>,
    pub(crate) clamp: Clamp,
}

/// A depthwise convolution.
#[derive(Debug, Clone)]
pub(crate) struct FusedDepthwise {
    pub(crate) conv: FusedConv,
    /// Whether its input goes through a ReLU first.
    pub(crate) relu_input: bool,
}

impl FusedConv {
    /// The convolution of a node, with nothing absorbed.
    pub(crate) fn new(graph: &Graph, node: Value, conv: Conv) -> Self {
        let channels = graph.node(graph.node(node).inputs[0]).channels;
        let (norms, clamp) = (Vec::new(), Clamp::NONE);
        Self { conv, group_inputs: channels / conv.groups, node, has_kernel: true, norms, clamp }
    }

    /// A batch norm without a convolution.
    pub(crate) fn of_norm(channels: usize, norm: Value, eps: f64) -> Self {
        let conv = Conv { groups: channels, ..Conv::pointwise(channels) };
        let (norms, clamp) = (vec![(norm, eps)], Clamp::NONE);
        Self { conv, group_inputs: 1, node: norm, has_kernel: false, norms, clamp }
    }

    pub(crate) fn is_depthwise(&self) -> bool {
        self.conv.is_depthwise(self.group_inputs * self.conv.groups)
    }

    /// The number of pixels of the kernel.
    pub(crate) fn kernel_area(&self) -> usize {
        self.conv.kernel.pow(2)
    }

    /// The number of weights without the bias, which is the number of multiply-adds per pixel of the result.
    pub(crate) fn weights(&self) -> usize {
        self.kernel_area() * self.group_inputs * self.conv.out_channels
    }
}
