//! MobileNetV3 (Howard et al. 2019): inverted residuals with squeeze-and-excitation and hard-swish, as in torchvision
//! (`torchvision/models/mobilenetv3.py`).

use super::stride::OutputStride;
use crate::config::{DilationStart, MobileNetV3, Network, SqueezedResidual};
use crate::graph::{Activation, Builder, Conv, Value};

/// Past the output stride, a block that would have had a stride dilates, and so do all blocks after it (torchvision's
/// `dilated=True`).
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
    // In every published network, a block whose stride was omitted changes the width; torchvision checks the stride
    // that it would have had.
    if block.stride == 1 && g.channels(x) == block.width { g.add(y, x) } else { y }
}

/// Multiplies each channel by a weight between 0 and 1, computed from the means of all channels (Hu et al. 2018).
fn squeeze_and_excite(g: &mut Builder, x: Value, width: usize) -> Value {
    let pooled = g.global_pool(x);
    let squeezed = g.conv("reduce", pooled, Conv::pointwise(width).with_bias());
    let squeezed = g.activation(squeezed, Activation::Relu);
    let excited = g.conv("expand", squeezed, Conv::pointwise(g.channels(x)).with_bias());
    let gate = g.activation(excited, Activation::HardSigmoid);
    g.multiply(x, gate)
}
