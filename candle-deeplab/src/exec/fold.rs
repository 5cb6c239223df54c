//! Convolutions with the batch norms behind them folded into their weights.

use std::collections::HashMap;

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};
use crate::graph::{Conv, Graph, Op, Param, Role, Value};

/// A convolution's kernel `[out, in / groups, k, k]` and bias, in double precision so that folding does not round.
pub(crate) struct Folded {
    pub(crate) conv: Conv,
    /// Input channels of a group.
    pub(crate) group_inputs: usize,
    kernel: Vec<f64>,
    bias: Vec<f64>,
}

impl Folded {
    /// The convolution of a node. `get` reads the tensor of a node and a role.
    pub(crate) fn conv(graph: &Graph, value: Value, conv: Conv, get: &mut Reader) -> Result<Self> {
        let channels = graph.node(graph.node(value).inputs[0]).channels;
        let kernel = get(value, Role::Kernel)?;
        let bias = if conv.bias { get(value, Role::Bias)? } else { vec![0.0; conv.out_channels] };
        Ok(Self { conv, group_inputs: channels / conv.groups, kernel: wide(&kernel), bias: wide(&bias) })
    }

    /// What does nothing to each of so many channels: the start of a batch norm that stands alone.
    pub(crate) fn identity(channels: usize) -> Self {
        let conv = Conv { groups: channels, ..Conv::pointwise(channels) };
        Self { conv, group_inputs: 1, kernel: vec![1.0; channels], bias: vec![0.0; channels] }
    }

    /// Takes in the batch norm of a node.
    pub(crate) fn batch_norm(&mut self, value: Value, eps: f64, get: &mut Reader) -> Result<()> {
        let mut role = |role| get(value, role).map(|values| wide(&values));
        let (gamma, beta) = (role(Role::Gamma)?, role(Role::Beta)?);
        let (mean, variance) = (role(Role::Mean)?, role(Role::Variance)?);
        let per_output = self.kernel.len() / self.bias.len();
        for (out, kernel) in self.kernel.chunks_exact_mut(per_output).enumerate() {
            let scale = gamma[out] / (variance[out] + eps).sqrt();
            kernel.iter_mut().for_each(|weight| *weight *= scale);
            self.bias[out] = beta[out] + (self.bias[out] - mean[out]) * scale;
        }
        Ok(())
    }

    /// Whether each channel has its own kernel and one result.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.group_inputs == 1 && self.conv.groups == self.conv.out_channels
    }

    /// The weight of an output, an input channel of its group, and a tap.
    pub(crate) fn weight(&self, output: usize, input: usize, tap: usize) -> f32 {
        let taps = self.conv.kernel * self.conv.kernel;
        self.kernel[(output * self.group_inputs + input) * taps + tap] as f32
    }

    pub(crate) fn bias(&self) -> Vec<f32> {
        self.bias.iter().map(|bias| *bias as f32).collect()
    }
}

/// Reads the tensor of a node and a role.
pub(crate) type Reader<'a> = dyn FnMut(Value, Role) -> Result<Vec<f32>> + 'a;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// The node's parameters by value and role, from a source of tensors by [`Param`].
pub(crate) fn reader<'a>(
    graph: &'a Graph,
    mut get: impl FnMut(&Param) -> Result<Tensor> + 'a,
) -> impl FnMut(Value, Role) -> Result<Vec<f32>> + 'a {
    let params: HashMap<_, _> = graph.params().into_iter().map(|param| ((param.node, param.role), param)).collect();
    move |value, role| {
        let param = params
            .get(&(value, role))
            .ok_or_else(|| Error::Graph { node: graph.node(value).path.clone(), reason: format!("has no {role:?}") })?;
        Ok(get(param)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }
}

/// The convolution of a node, if it is one.
pub(crate) fn conv_of(graph: &Graph, value: Value) -> Option<Conv> {
    match graph.node(value).op {
        Op::Conv(conv) => Some(conv),
        _ => None,
    }
}
