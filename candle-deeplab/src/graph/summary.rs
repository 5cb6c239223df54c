//! What a network costs: shapes, parameters and multiply-adds, layer by layer and in total.

use std::fmt;

use serde::Serialize;

use super::{Graph, Op};
use crate::error::Result;

/// The cost of a network for one input size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Height and width of the input.
    pub input: (usize, usize),
    /// The layers with weights, in order.
    pub layers: Vec<LayerSummary>,
    /// Number of weights, batch norm's moving statistics included (as TensorFlow counts variables).
    pub params: u64,
    /// Multiply-adds of the convolutions for one image.
    pub macs: u64,
}

/// The cost of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerSummary {
    /// The node's path.
    pub path: String,
    /// What it is, e.g. `conv 3×3 /2`.
    pub kind: String,
    /// Channels, height and width of its result.
    pub output: (usize, usize, usize),
    /// Number of its weights.
    pub params: u64,
    /// Its multiply-adds for one image.
    pub macs: u64,
}

impl Graph {
    /// The cost of this network for one image of `height` × `width`.
    ///
    /// # Errors
    /// As [`Graph::sizes`].
    pub fn summary(&self, height: usize, width: usize) -> Result<Summary> {
        let sizes = self.sizes(height, width)?;
        let mut params_of = vec![0u64; self.nodes().len()];
        let mut macs_of = vec![0u64; self.nodes().len()];
        for param in self.params() {
            let index = param.node.index();
            let elements: usize = param.shape.iter().product();
            params_of[index] += elements as u64;
            if param.role == super::Role::Kernel {
                let (h, w) = sizes[index];
                macs_of[index] = (elements as u64).saturating_mul((h * w) as u64);
            }
        }
        let layer = |index: usize| {
            let node = &self.nodes()[index];
            let (h, w) = sizes[index];
            LayerSummary {
                path: node.path.clone(),
                kind: kind(&node.op),
                output: (node.channels, h, w),
                params: params_of[index],
                macs: macs_of[index],
            }
        };
        let layers = (0..self.nodes().len()).filter(|&i| params_of[i] > 0).map(layer).collect();
        Ok(Summary { input: (height, width), layers, params: total(&params_of), macs: total(&macs_of) })
    }
}

/// A sum that a nonsensical config cannot overflow.
fn total(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, n| sum.saturating_add(*n))
}

fn kind(op: &Op) -> String {
    match op {
        Op::Conv(c) => {
            let name = if c.groups > 1 { "grouped conv" } else { "conv" };
            let stride = if c.stride > 1 { format!(" /{}", c.stride) } else { String::new() };
            let rate = if c.dilation > 1 { format!(" rate {}", c.dilation) } else { String::new() };
            format!("{name} {k}×{k}{stride}{rate}", k = c.kernel)
        }
        Op::BatchNorm { .. } => "batch norm".into(),
        other => format!("{other:?}"),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.layers.iter().map(|l| l.path.len()).max().unwrap_or(0);
        for l in &self.layers {
            let (c, h, w) = l.output;
            let shape = format!("{c}×{h}×{w}");
            writeln!(
                f,
                "{:width$}  {:24} {shape:>16} {:>11} {:>9.3} MMAC",
                l.path,
                l.kind,
                l.params,
                l.macs as f64 / 1e6
            )?;
        }
        let (h, w) = self.input;
        write!(f, "input {h}×{w}: {} parameters, {:.3} GMAC", self.params, self.macs as f64 / 1e9)
    }
}
