//! The 3×3 convolution of the ASPP, the decoder and the auxiliary head.

use crate::config::Convolution;
use crate::graph::{Activation, Builder, Conv, Value};

/// Adds a 3×3 convolution of the head.
pub(super) fn head_conv(g: &mut Builder, x: Value, width: usize, rate: usize, convolution: Convolution) -> Value {
    let depthwise = Conv::depthwise(g.channels(x)).dilation(rate);
    let x = match convolution {
        Convolution::Dense => {
            return g.conv_bn_act("conv", x, Conv::dense(width, 3).dilation(rate), Activation::Relu);
        }
        Convolution::Separable => g.conv_bn_act("depthwise", x, depthwise, Activation::Relu),
        Convolution::PlainSeparable => g.conv("depthwise", x, depthwise),
    };
    g.conv_bn_act("pointwise", x, Conv::pointwise(width), Activation::Relu)
}
