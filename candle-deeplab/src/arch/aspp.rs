//! Atrous spatial pyramid pooling (Chen et al. 2017, section 3.3; separable as in Chen et al. 2018, section 3.1).

use super::separable;
use crate::config::Aspp;
use crate::graph::{Activation, Builder, Conv, Value};

/// Parallel branches over the backbone features, concatenated in TensorFlow's order: image pooling, 1×1, atrous 3×3s.
pub(super) fn aspp(g: &mut Builder, x: Value, config: &Aspp, align_corners: bool) -> Value {
    let mut branches = Vec::new();
    if config.image_pooling {
        branches.push(g.scope("image_pooling", |g| {
            let pooled = g.global_pool(x);
            let projected = g.conv_bn_act("conv", pooled, Conv::pointwise(config.width), Activation::Relu);
            g.resize(projected, x, align_corners)
        }));
    }
    branches.push(g.conv_bn_act("branch0", x, Conv::pointwise(config.width), Activation::Relu));
    for (i, &rate) in config.rates.iter().enumerate() {
        branches.push(g.scope(format!("branch{}", i + 1), |g| separable(g, x, config.width, rate)));
    }
    let joined = g.concat(&branches);
    g.conv_bn_act("projection", joined, Conv::pointwise(config.width), Activation::Relu)
}
