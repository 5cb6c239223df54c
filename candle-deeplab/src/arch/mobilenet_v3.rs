//! MobileNetV3 (Howard et al. 2019): inverted residuals with squeeze-and-excitation and hard-swish, as torchvision has it
//! (`torchvision/models/mobilenetv3.py`).

use serde::{Deserialize, Serialize};

use super::stride::{DilationStart, OutputStride};
use crate::config::Network;
use crate::graph::{Activation, Builder, Conv, Value};

/// The layout of a MobileNetV3 as explicit widths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MobileNetV3 {
    /// Channels of the first convolution, which has stride 2 and hard-swish.
    pub stem: usize,
    /// The blocks in order.
    pub blocks: Vec<SqueezedResidual>,
    /// Channels of the 1×1 convolution after the last block, with hard-swish.
    pub head: usize,
    /// Epsilon of the batch norms (torchvision: 1e-3).
    pub batch_norm_eps: f64,
}

/// An inverted residual: expand, depthwise, weigh the channels, project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqueezedResidual {
    /// Side of the depthwise kernel: 3 or 5.
    pub kernel: usize,
    /// Channels inside; `null` where the block starts with its depthwise convolution.
    pub expansion: Option<usize>,
    /// Channels that squeeze-and-excitation squeezes to; `null` where there is none.
    pub squeeze: Option<usize>,
    /// Channels of its result.
    pub width: usize,
    /// Stride of its depthwise convolution.
    pub stride: usize,
    /// Whether its activations are hard-swish; they are ReLU otherwise.
    pub hard_swish: bool,
}

/// Kernel, channels inside, channels out, squeeze-and-excitation, hard-swish and stride of each block (the paper's table 1).
const LARGE: [(usize, usize, usize, bool, bool, usize); 15] = [
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];

impl MobileNetV3 {
    /// MobileNetV3-Large.
    pub fn large() -> Self {
        let mut input = 16;
        let mut blocks = Vec::new();
        for (kernel, inside, width, squeezed, hard_swish, stride) in LARGE {
            // Where there is nothing to expand, there is no convolution for it.
            let expansion = (inside != input).then_some(inside);
            let squeeze = squeezed.then(|| squeezed_width(inside));
            blocks.push(SqueezedResidual { kernel, expansion, squeeze, width, stride, hard_swish });
            input = width;
        }
        Self { stem: 16, blocks, head: 960, batch_norm_eps: 1e-3 }
    }

    /// The tap of the features at stride 8 that torchvision's auxiliary head looks at.
    pub fn auxiliary_tap() -> &'static str {
        "block4"
    }

    pub(super) fn name(&self) -> &'static str {
        if *self == Self::large() { "mobilenet_v3_large" } else { "mobilenet_v3" }
    }
}

/// A quarter of the channels, as a multiple of 8 that is not more than a tenth below (`_make_divisible`).
fn squeezed_width(channels: usize) -> usize {
    let quarter = channels / 4;
    let rounded = ((quarter + 4) / 8 * 8).max(8);
    if rounded * 10 < quarter * 9 { rounded + 8 } else { rounded }
}

/// Past the output stride a block that would have strided dilates, and all after it (torchvision's `dilated=True`).
pub(super) fn mobilenet_v3(g: &mut Builder, image: Value, layout: &MobileNetV3, network: &Network) -> Value {
    g.batch_norm_eps(layout.batch_norm_eps);
    let mut stride = OutputStride::new(network.output_stride, 2, DilationStart::Block);
    let stem = Conv::dense(layout.stem, 3).stride(2);
    let mut x = g.conv_bn_act("stem", image, stem, Activation::HardSwish);
    for (i, block) in layout.blocks.iter().enumerate() {
        let (stride, rate) = stride.next(block.stride);
        x = g.scope(format!("block{}", i + 1), |g| squeezed_residual(g, x, block, stride, rate));
    }
    g.conv_bn_act("head", x, Conv::pointwise(layout.head), Activation::HardSwish)
}

fn squeezed_residual(g: &mut Builder, x: Value, block: &SqueezedResidual, stride: usize, rate: usize) -> Value {
    let activation = if block.hard_swish { Activation::HardSwish } else { Activation::Relu };
    let mut y = x;
    if let Some(expansion) = block.expansion {
        y = g.conv_bn_act("expand", y, Conv::pointwise(expansion), activation);
    }
    let channels = g.channels(y);
    let depthwise = Conv { groups: channels, ..Conv::dense(channels, block.kernel) };
    y = g.conv_bn_act("depthwise", y, depthwise.stride(stride).dilation(rate), activation);
    if let Some(width) = block.squeeze {
        y = g.scope("squeeze", |g| squeeze_and_excite(g, y, width));
    }
    y = g.conv_bn("project", y, Conv::pointwise(block.width));
    // A block whose stride was left out changes the width in every published network; torchvision asks for the stride
    // that it would have had.
    if block.stride == 1 && g.channels(x) == block.width { g.add(y, x) } else { y }
}

/// Each channel times a weight between 0 and 1 that all channels' means give (Hu et al. 2018).
fn squeeze_and_excite(g: &mut Builder, x: Value, width: usize) -> Value {
    let pooled = g.global_pool(x);
    let squeezed = g.conv("reduce", pooled, Conv::pointwise(width).with_bias());
    let squeezed = g.activation(squeezed, Activation::Relu);
    let excited = g.conv("expand", squeezed, Conv::pointwise(g.channels(x)).with_bias());
    let gate = g.activation(excited, Activation::HardSigmoid);
    g.multiply(x, gate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `fc1` of each block in torchvision's `mobilenet_v3_large`.
    #[test]
    fn squeezed_widths_are_torchvisions() {
        let squeezes: Vec<usize> = MobileNetV3::large().blocks.iter().filter_map(|block| block.squeeze).collect();
        assert_eq!(squeezes, [24, 32, 32, 120, 168, 168, 240, 240]);
        assert_eq!((squeezed_width(16), squeezed_width(72)), (8, 24));
    }

    #[test]
    fn the_first_block_alone_has_no_expansion() {
        let expansions = MobileNetV3::large().blocks.into_iter().map(|block| block.expansion);
        assert!(expansions.enumerate().all(|(i, expansion)| expansion.is_none() == (i == 0)));
    }
}
