//! ResNet v1 (He et al. 2015) in TensorFlow's form: the stride sits in the last unit of a block, not in the first.

use serde::{Deserialize, Serialize};

use super::OutputStride;
use crate::config::Network;
use crate::graph::{Activation, Builder, Conv, Padding, Value};

/// The layout of a bottleneck ResNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNet {
    /// The convolutions before the first pooling.
    pub stem: Stem,
    /// Number of units in each of the four blocks.
    pub units: [u8; 4],
    /// Channels of each block's result; inside a unit they are a quarter.
    pub widths: [usize; 4],
    /// Epsilon of the batch norms (1e-5 in every code base).
    pub batch_norm_eps: f64,
}

/// The convolutions before a ResNet's first pooling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Stem {
    /// One 7×7 convolution of stride 2 (the paper's).
    Single {
        /// Its channels.
        width: usize,
    },
    /// Three 3×3 convolutions, the first of stride 2 (TensorFlow's `_beta`).
    Deep {
        /// Their channels.
        widths: [usize; 3],
    },
}

/// (Name, units of the four blocks).
const VARIANTS: [(&str, [u8; 4]); 2] = [("resnet50", [3, 4, 6, 3]), ("resnet101", [3, 4, 23, 3])];

/// The tap of TensorFlow's low-level features: `block1/unit_2/conv3`, after its norm and before the sum.
const LOW_LEVEL: &str = "block1.unit2.conv3";

/// A bottleneck narrows its input to a quarter of its result.
const BOTTLENECK: usize = 4;

impl ResNet {
    /// TensorFlow's ResNet-101 with the three-convolution stem (`resnet_v1_101_beta`).
    pub fn resnet101_beta() -> Self {
        let stem = Stem::Deep { widths: [64, 64, 128] };
        Self { stem, units: VARIANTS[1].1, widths: [256, 512, 1024, 2048], batch_norm_eps: 1e-5 }
    }

    /// The tap of TensorFlow's low-level features.
    pub fn low_level_tap() -> &'static str {
        LOW_LEVEL
    }

    pub(crate) fn name(&self) -> &'static str {
        VARIANTS.iter().find(|(_, units)| *units == self.units).map_or("resnet", |(name, _)| name)
    }
}

pub(super) fn resnet(g: &mut Builder, image: Value, layout: &ResNet, network: &Network) -> Value {
    g.batch_norm_eps(layout.batch_norm_eps);
    let mut x = match layout.stem {
        Stem::Single { width } => g.conv_bn_act("conv1", image, Conv::dense(width, 7).stride(2), Activation::Relu),
        Stem::Deep { widths } => g.scope("conv1", |g| {
            let x = g.conv_bn_act("conv1", image, Conv::dense(widths[0], 3).stride(2), Activation::Relu);
            let x = g.conv_bn_act("conv2", x, Conv::dense(widths[1], 3), Activation::Relu);
            g.conv_bn_act("conv3", x, Conv::dense(widths[2], 3), Activation::Relu)
        }),
    };
    x = g.max_pool("pool1", x, 3, 2, Padding::Same);

    let mut stride = OutputStride::new(network.output_stride, 4);
    for (b, (&units, &width)) in layout.units.iter().zip(&layout.widths).enumerate() {
        let last_block = b == 3;
        x = g.scope(format!("block{}", b + 1), |g| {
            for u in 0..units {
                let own_stride = if u + 1 == units && !last_block { 2 } else { 1 };
                let (stride, rate) = stride.next(own_stride);
                let grid = network.multi_grid.get(usize::from(u)).copied().unwrap_or(1);
                let rate = if last_block { rate.saturating_mul(grid) } else { rate };
                x = g.scope(format!("unit{}", u + 1), |g| bottleneck(g, x, width, stride, rate));
            }
            x
        });
    }
    x
}

fn bottleneck(g: &mut Builder, x: Value, width: usize, stride: usize, rate: usize) -> Value {
    let inner = width / BOTTLENECK;
    let shortcut = if g.channels(x) != width {
        g.conv_bn("shortcut", x, Conv::pointwise(width).stride(stride))
    } else if stride > 1 {
        // x[::stride]: a pool over single pixels.
        g.max_pool("shortcut", x, 1, stride, Padding::Symmetric(0))
    } else {
        x
    };
    let y = g.conv_bn_act("conv1", x, Conv::pointwise(inner), Activation::Relu);
    let y = g.conv_bn_act("conv2", y, Conv::dense(inner, 3).stride(stride).dilation(rate), Activation::Relu);
    let y = g.conv_bn("conv3", y, Conv::pointwise(width));
    let sum = g.add(shortcut, y);
    g.activation(sum, Activation::Relu)
}
