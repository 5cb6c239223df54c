//! MobileNetV2 (Sandler et al. 2018): inverted residuals. Code bases differ in where they pad, where dilation starts,
//! and where the features are taken.

use super::stride::OutputStride;
use crate::config::{BlockPadding, InvertedResidual, MobileNetV2, Network};
use crate::graph::{Activation, Builder, Conv, Padding, Value};

pub(super) fn mobilenet_v2(g: &mut Builder, image: Value, layout: &MobileNetV2, network: &Network) -> Value {
    g.batch_norm_eps(layout.batch_norm_eps);
    let mut stride = OutputStride::new(network.output_stride, 2, layout.dilation_start);
    let stem = Conv::dense(layout.stem, 3).stride(2).padding(match (layout.padded_stem, layout.padding) {
        (false, _) => Padding::Symmetric(0),
        (true, BlockPadding::Same) => Padding::Same,
        (true, _) => Padding::Symmetric(1),
    });
    let mut x = g.conv_bn_act("stem", image, stem, Activation::Relu6);
    for (i, block) in layout.blocks.iter().enumerate() {
        // A stage is a run of blocks of one width, of which only the first may have a stride.
        if block.stride > 1 || g.channels(x) != block.width {
            stride.stage();
        }
        let (stride, rate) = stride.next(block.stride);
        x = g.scope(format!("block{}", i + 1), |g| inverted_residual(g, x, block, layout.padding, stride, rate));
    }
    match layout.head {
        Some(width) => g.conv_bn_act("head", x, Conv::pointwise(width), Activation::Relu6),
        None => x,
    }
}

fn inverted_residual(
    g: &mut Builder,
    x: Value,
    block: &InvertedResidual,
    padding: BlockPadding,
    stride: usize,
    rate: usize,
) -> Value {
    let around = Padding::Symmetric(rate);
    let (before, inside) = match padding {
        BlockPadding::Same => (Padding::Symmetric(0), Padding::Same),
        BlockPadding::BeforeExpansion if block.expansion.is_some() => (around, Padding::Symmetric(0)),
        BlockPadding::Symmetric | BlockPadding::BeforeExpansion => (Padding::Symmetric(0), around),
    };
    let mut y = x;
    if let Some(expansion) = block.expansion {
        y = g.conv_bn_act("expand", y, Conv::pointwise(expansion).padding(before), Activation::Relu6);
    }
    let depthwise = Conv::depthwise(g.channels(y)).stride(stride).dilation(rate).padding(inside);
    y = g.conv_bn_act("depthwise", y, depthwise, Activation::Relu6);
    y = g.conv_bn("project", y, Conv::pointwise(block.width));
    if stride == 1 && g.channels(x) == block.width { g.add(y, x) } else { y }
}
