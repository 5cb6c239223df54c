//! Training: forward passes with batch statistics and dropout, and the backward pass over the graph.
//!
//! The backward pass is this module's own, not candle's autograd: it keeps only the feature maps that a gradient needs,
//! frees each when its last reader is done, and computes nothing that no trained parameter depends on. Candle's
//! autograd over [`exec::eager`](crate::exec::eager) is what its gradients are tested against.
//!
//! ```
//! use candle_core::{DType, Device, Tensor, Var};
//! use candle_deeplab::config::{Backbone, Network};
//! use candle_deeplab::exec::train::{Mode, Training};
//!
//! let graph = candle_deeplab::arch::graph(&Network::deeplabv3(Backbone::mobilenet_v2(0.35), 3))?;
//! let device = Device::Cpu;
//! let var = |param: candle_deeplab::graph::Param| param.role.init().var(param.shape.as_slice(), DType::F32, &device);
//! let vars: Vec<Var> = graph.params().into_iter().map(var).collect::<Result<_, _>>()?;
//! let logits = graph.logits().expect("a head");
//!
//! let training = Training::new(graph, vars)?;
//! let pixels = Tensor::zeros((2, 3, 33, 33), DType::F32, &device)?;
//! let pass = training.forward(&pixels, &[logits], &Mode::default())?;
//! let gradient = pass.value(logits).expect("it is wanted").ones_like()?; // of the loss: their sum
//! training.apply_statistics(pass.statistics())?;
//! let gradients = pass.backward(vec![(logits, gradient)])?;
//! assert_eq!(gradients.len(), training.vars().len());
//! # Ok::<(), candle_deeplab::Error>(())
//! ```

mod compute;
mod dropout;
mod mode;
mod pass;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Tensor, Var};

pub use mode::{Dropout, Mode, Norms};
pub use pass::Pass;

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Op, Param, Value};

/// A network in training: its graph, and a variable for each of its parameters.
#[derive(Debug, Clone)]
pub struct Training {
    graph: Arc<Graph>,
    params: Vec<Param>,
    vars: Vec<Var>,
    /// The positions of each node's parameters, by node.
    positions: Vec<Range<usize>>,
}

impl Training {
    /// Trains `vars`, which are the parameters of the graph in the order of [`Graph::params`].
    ///
    /// # Errors
    /// [`Error::Training`] where there are more or fewer variables than parameters, or one has another shape than its
    /// parameter, or another type or device than the first.
    pub fn new(graph: impl Into<Arc<Graph>>, vars: Vec<Var>) -> Result<Self> {
        let graph = graph.into();
        let params = graph.params();
        if params.len() != vars.len() {
            let (params, vars) = (params.len(), vars.len());
            return Err(Error::Training(format!("{vars} variables for {params} parameters: give one for each")));
        }
        for (param, var) in params.iter().zip(&vars) {
            let Param { name, shape, .. } = param;
            if var.dims() != shape {
                let dims = var.dims();
                return Err(Error::Training(format!("the variable of `{name}` has the shape {dims:?}, not {shape:?}")));
            }
            if (var.dtype(), var.device().location()) != (vars[0].dtype(), vars[0].device().location()) {
                return Err(Error::Training(format!(
                    "the variable of `{name}` is {:?} on {:?}, and the first is {:?} on {:?}: they must agree",
                    var.dtype(),
                    var.device().location(),
                    vars[0].dtype(),
                    vars[0].device().location()
                )));
            }
        }
        let mut positions = vec![0..0; graph.nodes().len()];
        for (position, param) in params.iter().enumerate() {
            let of_node: &mut Range<usize> = &mut positions[param.node.index()];
            let start = if of_node.start == of_node.end { position } else { of_node.start };
            *of_node = start..position + 1;
        }
        Ok(Self { graph, params, vars, positions })
    }

    /// The network.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// The variables, in the order of [`params`](Self::params).
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// The parameters of the graph: [`Graph::params`].
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The positions of the parameters in a scope, e.g. to freeze those of the `backbone`
    /// ([`Mode::frozen`]).
    ///
    /// # Errors
    /// [`Error::NoSuchTap`] where there is no such scope.
    pub fn params_under(&self, scope: &str) -> Result<BTreeSet<usize>> {
        self.graph.tap(scope)?;
        let inside = |(_, param): &(usize, &Param)| is_under(self.graph.node(param.node), scope);
        Ok(self.params.iter().enumerate().filter(inside).map(|(position, _)| position).collect())
    }

    /// The batch norms in a scope, e.g. to keep the statistics of the `backbone` ([`Norms::StoredIn`]). A network with
    /// folded norms has none.
    ///
    /// # Errors
    /// [`Error::NoSuchTap`] where there is no such scope.
    pub fn norms_under(&self, scope: &str) -> Result<BTreeSet<Value>> {
        self.graph.tap(scope)?;
        let is_norm = |node: &Node| matches!(node.op, Op::BatchNorm { .. }) && is_under(node, scope);
        Ok(self.graph.values().filter(|value| is_norm(self.graph.node(*value))).collect())
    }

    /// Computes the `wanted` values of `pixels` `[N, 3, H, W]`, such as the logits at the head's own resolution
    /// ([`Graph::logits`]) and those of the auxiliary head (the tap [`AUXILIARY`](crate::arch::AUXILIARY)), and keeps
    /// what their gradients need.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Dtype`], [`Error::Device`] and [`Error::Graph`] where the pixels do not fit the
    /// network; [`Error::Training`] where the mode does not; [`Error::Candle`] where candle cannot compute a node.
    pub fn forward(&self, pixels: &Tensor, wanted: &[Value], mode: &Mode) -> Result<Pass<'_>> {
        Pass::new(self, pixels, wanted, mode)
    }

    /// Stores new running statistics: those of [`Pass::statistics`].
    ///
    /// # Errors
    /// [`Error::Training`] for a parameter that is no statistic of a norm, [`Error::Candle`] for a tensor that does
    /// not fit it.
    pub fn apply_statistics(&self, statistics: &[(usize, Tensor)]) -> Result<()> {
        for (position, tensor) in statistics {
            let found = self.params.get(*position).zip(self.vars.get(*position));
            let Some((_, var)) = found.filter(|(param, _)| !param.role.is_trainable()) else {
                return Err(Error::Training(format!("parameter {position} is no statistic of a batch norm")));
            };
            var.set(tensor)?;
        }
        Ok(())
    }

    /// The positions of a node's parameters.
    fn positions(&self, node: usize) -> Range<usize> {
        self.positions[node].clone()
    }

    /// The tensors of a node's parameters, of which candle records nothing.
    fn tensors_of(&self, node: usize) -> Vec<Tensor> {
        self.vars[self.positions(node)].iter().map(|var| var.as_tensor().detach()).collect()
    }

    fn check_pixels(&self, pixels: &Tensor) -> Result<()> {
        let channels = self.graph.nodes().first().map_or(3, |input| input.channels);
        match pixels.dims() {
            &[n, c, ..] if pixels.rank() == 4 && n > 0 && c == channels => {}
            dims => return Err(Error::Input { shape: dims.to_vec() }),
        }
        let Some(first) = self.vars.first() else { return Ok(()) };
        let (expected, actual) = (first.device().location(), pixels.device().location());
        if expected != actual {
            return Err(Error::Device { expected, actual });
        }
        let (expected, actual) = (first.dtype(), pixels.dtype());
        if expected != actual { Err(Error::Dtype { expected, actual }) } else { Ok(()) }
    }
}

/// Whether a node lies in a scope.
fn is_under(node: &Node, scope: &str) -> bool {
    node.path.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
