//! The DeepLabv3+ decoder (Chen et al. 2018, section 3.1).

use super::BACKBONE;
use super::head::head_conv;
use crate::config::{ConcatOrder, Decoder};
use crate::graph::{Activation, Builder, Conv, Value};

/// Resizes the ASPP's result to the low-level features' size, concatenates both, and refines them; with coarser low-level
/// features before, if the config has such.
pub(super) fn decoder(g: &mut Builder, aspp: Value, config: &Decoder, align_corners: bool) -> Value {
    let aspp = match &config.before {
        Some(before) => g.scope("before", |g| decoder(g, aspp, before, align_corners)),
        None => aspp,
    };
    let low_level = g.tap(&format!("{BACKBONE}.{}", config.low_level));
    let low_level = g.conv_bn_act("low_level", low_level, Conv::pointwise(config.low_level_width), Activation::Relu);
    let upsampled = g.resize(aspp, low_level, align_corners);
    let mut x = match config.concat {
        ConcatOrder::AsppFirst => g.concat(&[upsampled, low_level]),
        ConcatOrder::LowLevelFirst => g.concat(&[low_level, upsampled]),
    };
    for (i, &width) in config.widths.iter().enumerate() {
        x = g.scope(format!("conv{}", i + 1), |g| head_conv(g, x, width, 1, config.convolution));
    }
    x
}
