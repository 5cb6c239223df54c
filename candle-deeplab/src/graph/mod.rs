//! The network as data: a list of nodes that every executor, the converter and the summary read.
//!
//! A [`Graph`] holds no weights and calls no tensor library. The functions of [`arch`](crate::arch) build it with a
//! [`Builder`]; the eager executor ([`exec::eager`](crate::exec::eager)) defines what its nodes compute.

mod builder;
mod memory;
mod params;
mod resize;
mod shape;
mod size;
mod summary;
mod window;

use std::collections::BTreeMap;

pub use builder::{Builder, Normalization};
pub use params::{Param, Role};
pub use resize::{Axis, Lerp};
pub use size::Size;
pub use summary::{LayerSummary, Summary};
pub use window::{Padding, Window, Windows};

use crate::error::{Error, Result};
use crate::labels::MAX_CLASSES;

/// The result of a node: a feature map `[N, C, H, W]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(usize);

impl Value {
    /// The position of the node that computes this value in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// One operation of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Dotted path, e.g. `backbone.middle_flow.block7.sepconv2.depthwise`; also the prefix of its weights' names.
    pub path: String,
    /// What it computes.
    pub op: Op,
    /// The values that it reads, always of nodes before it.
    pub inputs: Vec<Value>,
    /// Channels of the result.
    pub channels: usize,
}

impl Node {
    /// The inputs whose content it needs: of its second input, a resize needs only the size.
    pub(crate) fn reads(&self) -> &[Value] {
        if matches!(self.op, Op::Resize { .. }) { &self.inputs[..1] } else { &self.inputs }
    }

    /// The windows of a convolution or a pool; `None` for other nodes.
    pub fn windows(&self) -> Option<Windows> {
        match self.op {
            Op::Conv(conv) => Some(conv.windows()),
            Op::MaxPool(windows) => Some(windows),
            _ => None,
        }
    }
}

/// What a node computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// The preprocessed image.
    Input,
    /// Convolution, with a bias if [`Conv::bias`] is set.
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
        /// Whether the centres of corner pixels stay in place; otherwise pixels are areas, and the border is clamped.
        align_corners: bool,
    },
    /// Maximum over a window; padding never wins.
    MaxPool(Windows),
    /// Mean over height and width: `[N, C, 1, 1]`.
    GlobalPool,
}

/// An activation function, applied to each element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x · min(max(x + 3, 0), 6) / 6` (Howard et al. 2019, section 5.2)
    HardSwish,
    /// `min(max(x + 3, 0), 6) / 6`, as in PyTorch; TensorFlow's has another slope.
    HardSigmoid,
}

/// A square convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Channels of the result.
    pub out_channels: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Distance between the pixels that a window sees (the atrous rate).
    pub dilation: usize,
    /// The number of groups of channels that are convolved independently; with one group per channel, it is depthwise.
    pub groups: usize,
    /// The zeros around the input.
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

    /// The windows of its kernel.
    pub fn windows(self) -> Windows {
        let Self { kernel, stride, dilation, padding, .. } = self;
        Windows { kernel, stride, dilation, padding }
    }

    /// Whether it is depthwise over `in_channels` channels: each has a kernel of its own, and one result.
    pub fn is_depthwise(self, in_channels: usize) -> bool {
        self.groups == in_channels && self.groups == self.out_channels
    }
}

/// A network: nodes in an order in which they can be computed.
///
/// Every scope of the definition is a *tap*: its path names the value that the scope returned. The decoder and feature
/// extraction use taps, and they show where two implementations begin to differ.
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

    /// The logits at the head's own resolution: the value whose resize is the output. A backbone without a head has none.
    pub fn logits(&self) -> Option<Value> {
        let node = self.node(self.output);
        if matches!(node.op, Op::Resize { .. }) { node.inputs.first().copied() } else { None }
    }

    /// Checks that a label map, which has a byte for each pixel, can hold the network's classes.
    ///
    /// # Errors
    /// [`Error::Graph`] with the advice `way_out` where it cannot, [`Error::NoHead`] for a network without logits.
    pub(crate) fn check_label_map(&self, way_out: &str) -> Result<()> {
        let Node { path, channels: classes, .. } = self.node(self.logits().ok_or(Error::NoHead)?);
        if *classes <= MAX_CLASSES {
            return Ok(());
        }
        let reason = format!("has {classes} classes, and a label map holds {MAX_CLASSES}: {way_out}");
        Err(Error::Graph { node: path.clone(), reason })
    }

    /// For each value, the nodes that need its content on the way to `end`.
    pub(crate) fn users(&self, end: Value) -> Vec<Vec<Value>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for value in (0..=end.index()).rev().map(Value) {
            if value == end || !users[value.index()].is_empty() {
                self.node(value).reads().iter().for_each(|x| users[x.index()].push(value));
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
    /// [`Error::NoSuchTap`], which names the taps near the missing one.
    pub fn tap(&self, path: &str) -> Result<Value> {
        self.taps
            .get(path)
            .copied()
            .ok_or_else(|| Error::NoSuchTap { tap: path.to_owned(), available: taps_near(&self.taps, path) })
    }
}

/// The taps that share the longest existing scope with `path`, to help with a mistyped path.
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
