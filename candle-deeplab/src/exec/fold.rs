//! Folds batch norms into the weights of fused convolutions, in double precision.

use std::collections::HashMap;
use std::ops::Range;

use super::fuse::FusedConv;
use crate::error::{Error, Result};
use crate::graph::{Graph, Param, Role, Value};
use crate::weights::Values;

/// The weights of a [`FusedConv`].
pub(crate) struct Folded<'a> {
    /// The kernels as stored: `[out, in / groups, k, k]`.
    kernel: Values<'a>,
    /// The number of weights of an output.
    len: usize,
    /// Pixels of the kernel.
    area: usize,
    /// The factor for the weights of each output, in double precision so that weights are rounded only once.
    scale: Vec<f64>,
    /// A bias for each output.
    pub(crate) bias: Vec<f32>,
}

impl<'a> Folded<'a> {
    /// Reads and folds everything but the kernel, which is read part by part.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn new(conv: &FusedConv, read: &Reader<'a>) -> Result<Self> {
        let outputs = conv.conv.out_channels;
        let kernel = match conv.has_kernel {
            true => read(conv.node, Role::Kernel)?,
            false => Values::Here(vec![1.0; outputs]),
        };
        let wide =
            |node, role| -> Result<Vec<f64>> { Ok(read(node, role)?.all()?.into_iter().map(f64::from).collect()) };
        let mut bias = match conv.conv.bias {
            true => wide(conv.node, Role::Bias)?,
            false => vec![0.0; outputs],
        };
        let mut scale = vec![1.0; outputs];
        for (node, eps) in &conv.norms {
            let role = |role| wide(*node, role);
            let (gamma, beta) = (role(Role::Gamma)?, role(Role::Beta)?);
            let (mean, variance) = (role(Role::Mean)?, role(Role::Variance)?);
            for out in 0..outputs {
                let norm = gamma[out] / (variance[out] + eps).sqrt();
                scale[out] *= norm;
                bias[out] = beta[out] + (bias[out] - mean[out]) * norm;
            }
        }
        let bias = bias.into_iter().map(|bias| bias as f32).collect();
        let area = conv.kernel_area();
        Ok(Self { kernel, len: area * conv.group_inputs, area, scale, bias })
    }

    /// The kernels of some outputs, `[out, in / groups, k, k]`.
    pub(crate) fn kernels(&self, outputs: Range<usize>) -> Result<Vec<f32>> {
        let mut kernels = self.kernel.range(outputs.start * self.len..outputs.end * self.len)?;
        for (kernel, scale) in kernels.chunks_exact_mut(self.len).zip(&self.scale[outputs]) {
            kernel.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
        }
        Ok(kernels)
    }

    /// The kernels of some outputs, `[out, k, k, padded]`: the inputs of each pixel of the kernel lie side by side, as
    /// in memory that has its channels last, and are padded with zeros.
    pub(crate) fn rows(&self, outputs: Range<usize>, padded: usize) -> Result<Vec<f32>> {
        let (count, inputs, area) = (outputs.len(), self.len / self.area, self.area);
        let kernels = self.kernels(outputs)?;
        if (area, padded) == (1, inputs) {
            return Ok(kernels);
        }
        let mut rows = vec![0.0; count * area * padded];
        for (row, kernel) in rows.chunks_exact_mut(area * padded).zip(kernels.chunks_exact(self.len)) {
            for (at, row) in row.chunks_exact_mut(padded).enumerate() {
                row.iter_mut().zip(kernel.chunks_exact(area)).for_each(|(to, kernel)| *to = kernel[at]);
            }
        }
        Ok(rows)
    }

    /// The kernels of a depthwise convolution, `[k, k, channel]`.
    pub(crate) fn by_pixel(&self) -> Result<Vec<f32>> {
        let (kernels, area) = (self.kernels(0..self.bias.len())?, self.area);
        Ok((0..area).flat_map(|at| kernels.chunks_exact(area).map(move |kernel| kernel[at])).collect())
    }
}

/// Reads the tensor of a node and role. Several threads call it at once, since packing takes longer than reading.
pub(crate) type Reader<'a> = dyn Fn(Value, Role) -> Result<Values<'a>> + Sync + 'a;

/// Makes a [`Reader`] of a graph's parameters, whose values come from `get`.
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
