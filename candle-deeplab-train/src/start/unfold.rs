//! Recovers batch norms that were folded into convolutions, so that they can be trained again.
//!
//! A folded convolution computes `c + b`, where its kernel has absorbed the norm's scale. A norm behind the same kernel,
//! `γ · (c − μ) / √(σ² + ε) + β`, computes the same for any μ and σ² if `γ = √(σ² + ε)` and `β = b + μ`. With the mean
//! and variance of `c` over images, batch statistics give nearly the same answers as the stored ones, so that training
//! goes on where it had ended.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_deeplab::config::{Network, Normalization};
use candle_deeplab::exec::eager::Eager;
use candle_deeplab::graph::{Graph, Op, Param, Role, Value};
use candle_deeplab::{DeepLab, arch};

use super::parameters;
use crate::error::{Error, Result};

/// The parameters of the network with norms, by name.
pub(super) fn unfold(
    folded: &DeepLab,
    images: impl Iterator<Item = Result<Tensor>>,
) -> Result<HashMap<String, Tensor>> {
    let network = Network { normalization: Normalization::BatchNorm, ..folded.config().network.clone() };
    let graph = arch::graph(&network)?;
    let mut known = parameters(folded)?;
    let paths = norms(&graph);
    let convolutions = convolutions(folded.graph(), &paths);
    let moments = moments(folded, &convolutions, images)?;
    for ((path, eps), moment) in paths.iter().zip(&moments) {
        let Some(bias) = known.remove(&format!("{path}.{}", Role::Bias.suffix())) else { continue };
        let name = |role: Role| format!("{path}.bn.{}", role.suffix());
        // The measured mean has the bias in it: β = b + μ.
        let mean = (&moment.mean - &bias)?;
        let gamma = (&moment.variance + *eps)?.sqrt()?;
        known.insert(name(Role::Beta), moment.mean.clone());
        known.insert(name(Role::Gamma), gamma);
        known.insert(name(Role::Mean), mean);
        known.insert(name(Role::Variance), moment.variance.clone());
    }
    Ok(known)
}

/// The paths of convolutions that have a norm, with the norm's epsilon.
fn norms(graph: &Graph) -> Vec<(String, f64)> {
    let norm = |node: &candle_deeplab::graph::Node| match node.op {
        Op::BatchNorm { eps } => Some((node.path.strip_suffix(".bn")?.to_owned(), eps)),
        _ => None,
    };
    graph.nodes().iter().filter_map(norm).collect()
}

/// The values of the folded convolutions with these paths.
fn convolutions(graph: &Graph, paths: &[(String, f64)]) -> Vec<Value> {
    let by_path: HashMap<&str, Value> =
        graph.params().iter().map(|param| (graph.node(param.node).path.as_str(), param.node)).collect();
    paths.iter().filter_map(|(path, _)| by_path.get(path.as_str()).copied()).collect()
}

/// Mean and variance of each channel.
struct Moments {
    mean: Tensor,
    variance: Tensor,
}

/// The moments of the convolutions' results over all images, bias included.
fn moments(
    folded: &DeepLab,
    convolutions: &[Value],
    images: impl Iterator<Item = Result<Tensor>>,
) -> Result<Vec<Moments>> {
    let eager = Eager::new(folded.graph().clone(), |param: &Param| folded.parameter(param))?;
    let mut sums: Vec<Option<(Tensor, Tensor, f64)>> = convolutions.iter().map(|_| None).collect();
    for pixels in images {
        let values = eager.run(&pixels?.to_device(&Device::Cpu)?, convolutions)?;
        for (value, sums) in values.iter().zip(&mut sums) {
            let (n, channels, height, width) = value.dims4()?;
            let value = value.transpose(0, 1)?.reshape((channels, n * height * width))?.to_dtype(DType::F64)?;
            let (sum, squares) = (value.sum(1)?, value.sqr()?.sum(1)?);
            let count = (n * height * width) as f64;
            *sums = Some(match sums.take() {
                Some((s, q, c)) => ((s + sum)?, (q + squares)?, c + count),
                None => (sum, squares, count),
            });
        }
    }
    let moment = |sums: Option<(Tensor, Tensor, f64)>| {
        let (sum, squares, count) = sums.ok_or_else(|| {
            Error::recipe("model.start", "its batch norms are folded, and there are no images to recover them with")
        })?;
        let mean = (sum / count)?;
        let variance = ((squares / count)? - mean.sqr()?)?.relu()?;
        Ok(Moments { mean: mean.to_dtype(DType::F32)?, variance: variance.to_dtype(DType::F32)? })
    };
    sums.into_iter().map(moment).collect()
}
