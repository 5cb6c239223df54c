//! Shared helpers of the executors' tests: small networks, their weights and inputs, and strategies for random ones.

use candle_core::{DType, Tensor};
use proptest::prelude::*;

use crate::error::Result;
use crate::graph::{Activation, Builder, Conv, Graph, Normalization, Padding, Param, Role, Value};
use crate::ops::testing::hashed;

/// A network of `layers` between a 3-channel image and 5 classes.
pub(crate) fn network(layers: impl FnOnce(&mut Builder, Value) -> Value) -> Graph {
    resized_network(true, layers)
}

/// As [`network`], with its logits resized in one way or the other.
pub(crate) fn resized_network(align_corners: bool, layers: impl FnOnce(&mut Builder, Value) -> Value) -> Graph {
    let (mut g, image) = Builder::new(3, Normalization::BatchNorm);
    let x = layers(&mut g, image);
    let logits = g.conv("logits", x, Conv::pointwise(5).with_bias());
    let output = g.resize(logits, image, align_corners);
    g.finish(output).unwrap()
}

pub(crate) fn weight(param: &Param) -> Result<Tensor> {
    let values = hashed(&param.name, &param.shape).to_dtype(DType::F32)?;
    Ok(if param.role == Role::Variance { (values.abs()? + 0.5)? } else { values })
}

pub(crate) fn image(size: [usize; 3]) -> Tensor {
    hashed("image", &[size[0], 3, size[1], size[2]]).to_dtype(DType::F32).unwrap()
}

pub(crate) fn paddings() -> impl Strategy<Value = Option<Padding>> {
    prop_oneof![Just(None), Just(Some(Padding::Same)), (0usize..4).prop_map(|n| Some(Padding::Symmetric(n)))]
}

pub(crate) fn activations() -> impl Strategy<Value = Option<Activation>> {
    let all = vec![Activation::Relu, Activation::Relu6, Activation::HardSwish, Activation::HardSigmoid];
    proptest::option::of(proptest::sample::select(all))
}
