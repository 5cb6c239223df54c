//! Turns a graph into fused steps: what is computed together, where each result is stored, and in which order.
//!
//! A [`Fused`] network has no weights, no device and no memory layout. An executor packs the weights of each step and
//! has a kernel for each kind of step; the ONNX export writes each step as the operators that it consists of.
//!
//! - A convolution absorbs the nodes behind it, as long as nothing else needs the values in between: batch norms, then the
//!   addition of a value that is already computed (a residual), then an activation that only clamps.
//! - A 1×1 convolution absorbs the depthwise convolution before it, so that a separable convolution is one step.
//! - A ReLU that only depthwise convolutions read is applied where they read it. Xception has such ReLUs: the skip of a
//!   unit needs the value without the ReLU.
//! - A result that only a concatenation needs is written directly to its place there.
//! - Steps are in the order of the nodes, with one exception: a 1×1 convolution that is the last to read early features
//!   and computes few channels from them (a decoder's projection) comes right after their other uses, so that the early
//!   features need not be kept until the decoder.

mod clamp;
mod conv;
mod fuser;
mod step;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

pub(crate) use clamp::Clamp;
pub(crate) use conv::{FusedConv, FusedDepthwise};
pub(crate) use step::{Operand, Operation, Step};

use crate::error::{Error, Result};
use crate::graph::{Graph, Op, Value};

/// A network as fused steps, each of which needs only those before it.
#[derive(Debug)]
pub(crate) struct Fused {
    /// The feature maps that steps read and write; the first is the input.
    pub(crate) maps: Vec<Map>,
    pub(crate) steps: Vec<Step>,
    /// Where the value of each node is stored; `None` where it exists only within a step, or is not needed for the
    /// logits.
    pub(crate) places: Places,
    /// The logits at the head's resolution.
    pub(crate) logits: Operand,
    /// How the logits are resized to the network's output.
    pub(crate) output: Upsampling,
}

/// By node.
pub(crate) type Places = Vec<Option<Operand>>;

/// A feature map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Map {
    /// A node with the map's height and width.
    pub(crate) size_of: Value,
    pub(crate) channels: usize,
}

/// The bilinear resize of the logits at the end of the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upsampling {
    /// A node that has the height and width of the output.
    pub(crate) like: Value,
    pub(crate) align_corners: bool,
}

impl Fused {
    /// Fuses a network.
    ///
    /// # Errors
    /// [`Error::Graph`] where its output is not the resize of its logits.
    pub(crate) fn new(graph: &Graph) -> Result<Self> {
        let output = graph.node(graph.output());
        let (Op::Resize { align_corners }, &[logits, like]) = (output.op, &output.inputs[..]) else {
            let reason = "the network's last step must be the resize of its logits".into();
            return Err(Error::Graph { node: output.path.clone(), reason });
        };
        let (maps, steps, places) = fuser::fuse(graph, logits)?;
        let Some(logits) = places[logits.index()] else {
            let reason = "the logits are no result of their own".into();
            return Err(Error::Graph { node: graph.node(logits).path.clone(), reason });
        };
        Ok(Self { maps, steps, places, logits, output: Upsampling { like, align_corners } })
    }

    /// The liveness of each map: the first and the last step that need it. The input is needed from the first step on,
    /// and the wanted maps until one step past the last.
    pub(crate) fn lives(&self, wanted: &[usize]) -> Vec<RangeInclusive<usize>> {
        let mut lives = vec![(usize::MAX, 0); self.maps.len()];
        for (index, step) in self.steps.iter().enumerate() {
            for operand in step.operands() {
                let (first, last) = &mut lives[operand.map];
                (*first, *last) = ((*first).min(index), index);
            }
        }
        lives[0].0 = 0;
        for map in wanted {
            lives[*map].1 = self.steps.len();
        }
        lives.into_iter().map(|(first, last)| first..=last).collect()
    }
}
