//! Convolutions with the batch norms behind them folded into their weights.

use std::collections::HashMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::graph::{Conv, Graph, Op, Param, Role, Value};
use crate::weights::Values;

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

    pub(crate) fn is_depthwise(&self) -> bool {
        self.conv.is_depthwise(self.group_inputs * self.conv.groups)
    }

    /// Reads and folds all but the kernel, which is read part by part.
    pub(crate) fn read<'a>(&self, read: &Reader<'a>) -> Result<Folded<'a>> {
        let outputs = self.conv.out_channels;
        let kernel = match self.node {
            Some(node) => read(node, Role::Kernel)?,
            None => Values::Here(vec![1.0; outputs]),
        };
        let wide =
            |node, role| -> Result<Vec<f64>> { Ok(read(node, role)?.all()?.into_iter().map(f64::from).collect()) };
        let mut bias = match self.node {
            Some(node) if self.conv.bias => wide(node, Role::Bias)?,
            _ => vec![0.0; outputs],
        };
        let mut scale = vec![1.0; outputs];
        for (node, eps) in &self.norms {
            let role = |role| wide(*node, role);
            let (gamma, beta) = (role(Role::Gamma)?, role(Role::Beta)?);
            let (mean, variance) = (role(Role::Mean)?, role(Role::Variance)?);
            for out in 0..outputs {
                let norm = gamma[out] / (variance[out] + eps).sqrt();
                scale[out] *= norm;
                bias[out] = beta[out] + (bias[out] - mean[out]) * norm;
            }
        }
        let len = self.group_inputs * self.conv.kernel * self.conv.kernel;
        let bias = bias.into_iter().map(|bias| bias as f32).collect();
        Ok(Folded { kernel, len, scale, bias })
    }
}

/// The weights of a [`Folding`].
pub(crate) struct Folded<'a> {
    /// `[out, in / groups, k, k]`
    kernel: Values<'a>,
    /// Of an output's part of it.
    len: usize,
    /// What each output's part is multiplied by, in double precision so that folding rounds once.
    scale: Vec<f64>,
    pub(crate) bias: Vec<f32>,
}

impl Folded<'_> {
    /// The kernels of some outputs, `[out, in / groups, k, k]`.
    pub(crate) fn kernels(&self, outputs: Range<usize>) -> Result<Vec<f32>> {
        let mut kernels = self.kernel.range(outputs.start * self.len..outputs.end * self.len)?;
        for (kernel, scale) in kernels.chunks_exact_mut(self.len).zip(&self.scale[outputs]) {
            kernel.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
        }
        Ok(kernels)
    }
}

/// Reads the tensor of a node and a role; from several threads at once, since packing takes longer than reading.
pub(crate) type Reader<'a> = dyn Fn(Value, Role) -> Result<Values<'a>> + Sync + 'a;

/// The node's parameters by value and role, from a source of values by [`Param`].
pub(crate) fn reader<'a, 'v: 'a>(
    graph: &'a Graph,
    get: impl Fn(&Param) -> Result<Values<'v>> + Sync + 'a,
) -> impl Fn(Value, Role) -> Result<Values<'a>> + Sync + 'a {
    let params: HashMap<_, _> = graph.params().into_iter().map(|param| ((param.node, param.role), param)).collect();
    move |value, role| {
        let wrong = |reason| Error::Graph { node: graph.node(value).path.clone(), reason };
        let param = params.get(&(value, role)).ok_or_else(|| wrong(format!("has no {role:?}")))?;
        let (values, wanted) = (get(param)?, param.shape.iter().product::<usize>());
        match values.len() {
            len if len == wanted => Ok(values),
            len => Err(wrong(format!("`{}` has {len} values instead of {wanted}", param.name))),
        }
    }
}

/// The convolution of a node, if it is one.
pub(crate) fn conv_of(graph: &Graph, value: Value) -> Option<Conv> {
    match graph.node(value).op {
        Op::Conv(conv) => Some(conv),
        _ => None,
    }
}
