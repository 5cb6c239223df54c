//! Random numbers for layers that no model brings.

use candle_core::{Device, Tensor};
use candle_deeplab::arch::{AUXILIARY, LOGITS};
use candle_deeplab::graph::{Graph, Param, Role};
use rand::Rng;
use rand_distr::StandardNormal;

use crate::error::Result;
use crate::random;

/// The standard deviation of a classifier's kernel (`core/utils.py` of TensorFlow's DeepLab, `cls_seg` of
/// mmsegmentation): at first, all classes are about equally likely.
const CLASSIFIER: f32 = 0.01;

/// The first values of a parameter: He et al. 2015 (normal, fan-in) for kernels, small ones for classifiers, and norms
/// that change nothing. They depend only on the seed, the name and the shape.
pub(super) fn values(graph: &Graph, param: &Param, seed: u64) -> Result<Tensor> {
    let len: usize = param.shape.iter().product();
    let constant = |value: f32| Ok(Tensor::full(value, param.shape.as_slice(), &Device::Cpu)?);
    let deviation = match param.role {
        Role::Gamma | Role::Variance => return constant(1.0),
        Role::Bias | Role::Beta | Role::Mean => return constant(0.0),
        Role::Kernel if is_classifier(&graph.node(param.node).path) => CLASSIFIER,
        Role::Kernel => {
            let fan_in: usize = param.shape.iter().skip(1).product();
            (2.0 / fan_in.max(1) as f32).sqrt()
        }
    };
    let mut random = random::named(seed, &param.name);
    let values: Vec<f32> = (0..len).map(|_| deviation * random.sample::<f32, _>(StandardNormal)).collect();
    Ok(Tensor::from_vec(values, param.shape.as_slice(), &Device::Cpu)?)
}

fn is_classifier(path: &str) -> bool {
    path == LOGITS || path == format!("{AUXILIARY}.{LOGITS}")
}
