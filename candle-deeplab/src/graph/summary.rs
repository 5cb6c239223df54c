//! The cost of a network: shapes, parameters and multiply-adds, layer by layer and in total.

use std::fmt;

use serde::Serialize;

use super::{Graph, Op, Role, Size};
use crate::error::Result;

/// The cost of a network for one input size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Height and width of the input.
    pub input: (usize, usize),
    /// The layers with weights, in order.
    pub layers: Vec<LayerSummary>,
    /// The number of weights, including batch norm's moving statistics (as TensorFlow counts variables).
    pub params: u64,
    /// The multiply-adds of the convolutions for one image. An auxiliary head does not count, since it is computed only
    /// on request.
    pub macs: u64,
}

/// The cost of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerSummary {
    /// The node's path.
    pub path: String,
    /// The kind of layer, e.g. `conv 3×3 /2`.
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
            if param.role == Role::Kernel {
                macs_of[index] = (elements as u64).saturating_mul(sizes[index].area() as u64);
            }
        }
        let layer = |index: usize| {
            let node = &self.nodes()[index];
            let Size { height, width } = sizes[index];
            LayerSummary {
                path: node.path.clone(),
                kind: kind(&node.op),
                output: (node.channels, height, width),
                params: params_of[index],
                macs: macs_of[index],
            }
        };
        let layers = (0..self.nodes().len()).filter(|&i| params_of[i] > 0).map(layer).collect();
        Ok(Summary {
            input: (height, width),
            layers,
            params: total(&params_of),
            macs: total(&macs_of[..=self.output().index()]),
        })
    }
}

/// The sum, saturated where a nonsensical config makes it too large.
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

#[cfg(test)]
mod tests {
    use crate::arch;
    use crate::config::{Aspp, Backbone, Network};
    use crate::graph::Size;

    fn xception_65() -> Network {
        Network::deeplabv3plus(Backbone::xception65(), 21)
    }

    /// TensorFlow's MobileNetV2 models have neither atrous branches nor a decoder.
    fn mobilenet(multiplier: f64) -> Network {
        let network = Network::deeplabv3(Backbone::mobilenet_v2(multiplier), 21);
        Network { aspp: network.aspp.map(|aspp| Aspp { rates: vec![], ..aspp }), ..network }
    }

    #[test]
    fn xception_65_costs_what_tensorflow_counts() {
        let summary = arch::graph(&xception_65()).unwrap().summary(513, 513).unwrap();
        assert_eq!(summary.params, 41_258_213);
        assert_eq!(format!("{:.3}", summary.macs as f64 / 1e9), "54.035");
    }

    #[test]
    fn other_networks_have_tensorflows_number_of_parameters() {
        let params = |network: Network| arch::graph(&network).unwrap().summary(129, 129).unwrap().params;
        assert_eq!(params(mobilenet(1.0)), 2_146_645);
        assert_eq!(params(mobilenet(0.5)), 714_325);
        assert_eq!(params(Network::deeplabv3plus(Backbone::resnet101_beta(), 21)), 45_935_365);
        assert_eq!(params(Network::deeplabv3plus(Backbone::xception71(), 19)), 43_693_899);
    }

    #[test]
    fn the_output_stride_changes_sizes_but_no_parameters() {
        for (stride, side) in [(8, 65), (16, 33), (32, 17)] {
            let network = xception_65().at_output_stride(stride).unwrap();
            let graph = arch::graph(&network).unwrap();
            let features = graph.tap(crate::arch::BACKBONE).unwrap();
            assert_eq!(graph.sizes(513, 513).unwrap()[features.index()], Size::new(side, side));
            assert_eq!(graph.params(), arch::graph(&xception_65()).unwrap().params());
        }
    }

    #[test]
    fn the_text_has_a_row_a_layer_and_the_totals() {
        let text = arch::graph(&xception_65()).unwrap().summary(513, 513).unwrap().to_string();
        assert!(text.contains("backbone.exit_flow.block2.sepconv1.depthwise"));
        assert!(text.ends_with("input 513×513: 41258213 parameters, 54.035 GMAC"), "{text}");
    }
}
