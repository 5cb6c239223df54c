//! Atrous spatial pyramid pooling (Chen et al. 2017, section 3.3; separable as in Chen et al. 2018, section 3.1).

use super::head::head_conv;
use crate::config::{Aspp, ImagePooling};
use crate::graph::{Activation, Builder, Conv, Value};

/// Parallel branches over the backbone features: image pooling, 1×1, atrous 3×3s; concatenated and projected.
pub(super) fn aspp(g: &mut Builder, x: Value, config: &Aspp, align_corners: bool) -> Value {
    let mut branches = vec![g.conv_bn_act("branch0", x, Conv::pointwise(config.width), Activation::Relu)];
    for (i, &rate) in config.rates.iter().enumerate() {
        let branch = format!("branch{}", i + 1);
        branches.push(g.scope(branch, |g| head_conv(g, x, config.width, rate, config.convolution)));
    }
    let place = match config.image_pooling {
        ImagePooling::None => None,
        ImagePooling::First => Some(0),
        ImagePooling::Last => Some(branches.len()),
    };
    if let Some(place) = place {
        let pooled = g.scope("image_pooling", |g| {
            let pooled = g.global_pool(x);
            let projected = g.conv_bn_act("conv", pooled, Conv::pointwise(config.width), Activation::Relu);
            g.resize(projected, x, align_corners)
        });
        branches.insert(place, pooled);
    }
    let joined = g.concat(&branches);
    let projection = Conv::dense(config.width, config.projection_kernel);
    let y = g.conv_bn_act("projection", joined, projection, Activation::Relu);
    match config.refine {
        Some(convolution) => g.scope("refine", |g| head_conv(g, y, config.width, 1, convolution)),
        None => y,
    }
}
