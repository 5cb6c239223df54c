//! The network as data: a short list of nodes that every executor, the converter and the summary read.
//!
//! A [`Graph`] holds no weights and calls no tensor library. The [`arch`](crate::arch) functions build it through a
//! [`Builder`]; what the nodes compute is defined by the eager executor ([`exec::eager`](crate::exec::eager)).

mod builder;
mod memory;
mod params;
mod shape;
mod summary;

use std::collections::BTreeMap;

pub use builder::Builder;
pub use params::{Param, Role};
use serde::{Deserialize, Serialize};
pub use shape::Window;
pub use summary::{LayerSummary, Summary};

use crate::error::{Error, Result};

/// The result of a node: a feature map `[N, C, H, W]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(usize);

impl Value {
    /// Position of the node that computes this value, in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// How convolutions are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// Each convolution is followed by batch normalisation and has no bias of its own.
    BatchNorm,
    /// The weights were stored with batch norm folded in (TFLite): each convolution has a bias and no norm.
    Folded,
}

/// One step of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Dotted path, e.g. `backbone.middle_flow.block7.sepconv2.depthwise`; also the prefix of its weights' names.
    pub path: String,
    /// What it computes.
    pub op: Op,
    /// What it computes it from: always nodes that stand before it.
    pub inputs: Vec<Value>,
    /// Channels of the result.
    pub channels: usize,
}

/// What a node computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// The preprocessed image.
    Input,
    /// Convolution, with a bias where [`Conv::bias`] says so.
    Conv(Conv),
    /// Batch normalisation.
    BatchNorm {
        /// Added to the variance before the square root.
        eps: f64,
    },
    /// Point-wise non-linearity.
    Activation(Activation),
    /// Sum of two values of one shape.
    Add,
    /// Product of two values of one shape, or of a value and one number `[N, C, 1, 1]` for each of its channels.
    Multiply,
    /// Concatenation along the channels, in input order.
    Concat,
    /// Bilinear resize of the first input to the height and width of the second.
    Resize {
        /// Corner pixels keep their place; otherwise pixels are areas and the borders are clamped.
        align_corners: bool,
    },
    /// Maximum over a square window; padding never wins.
    MaxPool {
        /// Side of the window.
        kernel: usize,
        /// Step between windows.
        stride: usize,
        /// Rows and columns around the input.
        padding: Padding,
    },
    /// Mean over height and width: `[N, C, 1, 1]`.
    GlobalPool,
}

/// A point-wise non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x · min(max(x + 3, 0), 6) / 6` (Howard et al. 2019, section 5.2)
    HardSwish,
    /// `min(max(x + 3, 0), 6) / 6`, PyTorch's; TensorFlow's has another slope.
    HardSigmoid,
}

/// Rows and columns of zeros (of −∞ for pooling) around a window operation's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The same number on all four sides (PyTorch, and TensorFlow's `conv2d_same`).
    Symmetric(usize),
    /// TensorFlow's SAME: as many as `ceil(size / stride)` results need, the odd one at the bottom and right.
    Same,
}

/// A square convolution; `groups == in_channels` makes it depthwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Channels of the result.
    pub out_channels: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Distance between taps (the atrous rate).
    pub dilation: usize,
    /// Number of channel groups convolved independently.
    pub groups: usize,
    /// Zeros around the input.
    pub padding: Padding,
    /// Whether a bias per channel is added.
    pub bias: bool,
}

impl Conv {
    /// A dense convolution at stride 1 that keeps the size (for an odd kernel).
    pub fn dense(out_channels: usize, kernel: usize) -> Self {
        let padding = Padding::Symmetric(kernel / 2);
        Self { out_channels, kernel, stride: 1, dilation: 1, groups: 1, padding, bias: false }
    }

    /// A 1×1 convolution.
    pub fn pointwise(out_channels: usize) -> Self {
        Self::dense(out_channels, 1)
    }

    /// A 3×3 convolution of each channel with its own kernel.
    pub fn depthwise(channels: usize) -> Self {
        Self { groups: channels, ..Self::dense(channels, 3) }
    }

    /// The same convolution with another stride.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The same convolution at an atrous rate, with symmetric padding that grows with it so that stride 1 keeps the size.
    pub fn dilation(self, dilation: usize) -> Self {
        Self { dilation, padding: Padding::Symmetric((self.kernel / 2).saturating_mul(dilation)), ..self }
    }

    /// The same convolution with another padding.
    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// The same convolution with a bias.
    pub fn with_bias(self) -> Self {
        Self { bias: true, ..self }
    }
}

/// A network: nodes in an order in which they can be computed.
///
/// Every scope of the definition is a *tap*: its path names the value that the scope returned, for the decoder, for
/// feature extraction and for finding where two implementations part.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    taps: BTreeMap<String, Value>,
    output: Value,
}

impl Graph {
    /// The nodes in order; the first is the input.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The values of all nodes, in order.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value> + use<> {
        (0..self.nodes.len()).map(Value)
    }

    /// The node that computes `value`.
    pub fn node(&self, value: Value) -> &Node {
        &self.nodes[value.0]
    }

    /// The final value: logits at the input's size, or the features of a backbone without a head.
    pub fn output(&self) -> Value {
        self.output
    }

    /// The nodes that use each value on the way to `end`. A resize asks its second input for the size alone, which is no
    /// use of its content.
    pub(crate) fn users(&self, end: Value) -> Vec<Vec<Value>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for value in (0..=end.index()).rev().map(Value) {
            if value == end || !users[value.index()].is_empty() {
                let node = self.node(value);
                let read = if matches!(node.op, Op::Resize { .. }) { 1 } else { node.inputs.len() };
                node.inputs.iter().take(read).for_each(|x| users[x.index()].push(value));
            }
        }
        users
    }

    /// All taps: paths of scopes and their values.
    pub fn taps(&self) -> &BTreeMap<String, Value> {
        &self.taps
    }

    /// The value of one tap.
    ///
    /// # Errors
    /// [`Error::NoSuchTap`], which names the taps beside the missing one.
    pub fn tap(&self, path: &str) -> Result<Value> {
        self.taps
            .get(path)
            .copied()
            .ok_or_else(|| Error::NoSuchTap { tap: path.to_owned(), available: taps_near(&self.taps, path) })
    }
}

/// The taps that share the longest existing scope with `path`: what somebody who mistyped it wants to see.
fn taps_near(taps: &BTreeMap<String, Value>, path: &str) -> Vec<String> {
    let parents = path.rmatch_indices('.').map(|(dot, _)| &path[..=dot]).chain(std::iter::once(""));
    for parent in parents {
        let children = |tap: &&String| tap.strip_prefix(parent).is_some_and(|rest| !rest.contains('.'));
        let found: Vec<String> = taps.keys().filter(children).cloned().collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}
