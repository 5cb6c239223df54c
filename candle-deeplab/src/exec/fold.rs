//! Convolutions with the batch norms behind them folded into their weights.

use std::collections::HashMap;

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};
use crate::graph::{Conv, Graph, Op, Param, Role, Value};

/// A convolution and the batch norms behind it: what [`Folded`] will be, before any weight has been read.
#[derive(Debug, Clone)]
pub(crate) struct Folding {
    pub(crate) conv: Conv,
    /// Input channels of a group.
    pub(crate) group_inputs: usize,
    /// The node that has the kernel; none has that of a batch norm that stands alone.
    node: Option<Value>,
    norms: Vec<(Value, f64)>,
}

impl Folding {
    /// The convolution of a node.
    pub(crate) fn conv(graph: &Graph, value: Value, conv: Conv) -> Self {
        let channels = graph.node(graph.node(value).inputs[0]).channels;
        Self { conv, group_inputs: channels / conv.groups, node: Some(value), norms: Vec::new() }
    }

    /// What does nothing to each of so many channels: the start of a batch norm that stands alone.
    pub(crate) fn identity(channels: usize) -> Self {
        let conv = Conv { groups: channels, ..Conv::pointwise(channels) };
        Self { conv, group_inputs: 1, node: None, norms: Vec::new() }
    }

    /// Takes in the batch norm of a node.
    pub(crate) fn batch_norm(&mut self, value: Value, eps: f64) {
        self.norms.push((value, eps));
    }

    /// Whether each channel has its own kernel and one result.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.group_inputs == 1 && self.conv.groups == self.conv.out_channels
    }

    /// Reads and folds the weights.
    pub(crate) fn read(&self, read: &Reader) -> Result<Folded> {
        let outputs = self.conv.out_channels;
        let mut kernel = match self.node {
            Some(node) => read(node, Role::Kernel)?,
            None => vec![1.0; outputs],
        };
        let mut bias = match self.node {
            Some(node) if self.conv.bias => wide(&read(node, Role::Bias)?),
            _ => vec![0.0; outputs],
        };
        // In double precision, so that folding rounds once.
        let mut scale = vec![1.0; outputs];
        for (node, eps) in &self.norms {
            let role = |role| read(*node, role).map(|values| wide(&values));
            let (gamma, beta) = (role(Role::Gamma)?, role(Role::Beta)?);
            let (mean, variance) = (role(Role::Mean)?, role(Role::Variance)?);
            for out in 0..outputs {
                let norm = gamma[out] / (variance[out] + eps).sqrt();
                scale[out] *= norm;
                bias[out] = beta[out] + (bias[out] - mean[out]) * norm;
            }
        }
        let taps = self.conv.kernel * self.conv.kernel;
        for (kernel, scale) in kernel.chunks_exact_mut(self.group_inputs * taps).zip(scale) {
            kernel.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
        }
        let bias = bias.into_iter().map(|bias| bias as f32).collect();
        Ok(Folded { inputs: self.group_inputs, taps, kernel, bias })
    }
}

/// The weights of a [`Folding`].
#[derive(Debug)]
pub(crate) struct Folded {
    /// Input channels of a group.
    inputs: usize,
    taps: usize,
    /// `[out, in / groups, k, k]`
    pub(crate) kernel: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl Folded {
    /// The weights of an output at a tap, one for each input channel of its group.
    pub(crate) fn row(&self, output: usize, tap: usize) -> impl Iterator<Item = f32> {
        let Self { inputs, taps, ref kernel, .. } = *self;
        let windows = kernel[output * inputs * taps..][..inputs * taps].chunks_exact(taps);
        windows.map(move |window| window[tap])
    }
}

/// Reads the tensor of a node and a role; from several threads at once, since packing takes longer than reading.
pub(crate) type Reader<'a> = dyn Fn(Value, Role) -> Result<Vec<f32>> + Sync + 'a;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// The node's parameters by value and role, from a source of values by [`Param`].
pub(crate) fn reader<'a>(
    graph: &'a Graph,
    get: impl Fn(&Param) -> Result<Vec<f32>> + Sync + 'a,
) -> impl Fn(Value, Role) -> Result<Vec<f32>> + Sync + 'a {
    let params: HashMap<_, _> = graph.params().into_iter().map(|param| ((param.node, param.role), param)).collect();
    move |value, role| {
        let param = params
            .get(&(value, role))
            .ok_or_else(|| Error::Graph { node: graph.node(value).path.clone(), reason: format!("has no {role:?}") })?;
        get(param)
    }
}

/// The values of a tensor of any float type.
pub(crate) fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// The convolution of a node, if it is one.
pub(crate) fn conv_of(graph: &Graph, value: Value) -> Option<Conv> {
    match graph.node(value).op {
        Op::Conv(conv) => Some(conv),
        _ => None,
    }
}
