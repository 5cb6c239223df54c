//! A fused network with its weights folded and packed for an instruction set, for any input size.

use rayon::prelude::*;

use super::conv::DenseConv;
use super::depthwise::DepthwiseConv;
use super::isa::Kernels;
use crate::error::Result;
use crate::exec::choice::Precision;
use crate::exec::fold::{Folded, Reader};
use crate::exec::fuse::{Fused, Operation, Step};
use crate::graph::Graph;

/// A network's steps and their weights.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) fused: Fused,
    /// The weights of each step.
    pub(super) weights: Vec<StepWeights>,
}

/// The weights of a step.
#[derive(Debug)]
pub(super) enum StepWeights {
    None,
    /// One convolution for each group.
    Dense(Vec<DenseConv>),
    Depthwise(DepthwiseConv),
}

impl Program {
    /// Fuses a network, and reads, folds and packs its weights with all threads.
    pub(super) fn new(graph: &Graph, kernels: Kernels, precision: Precision, read: &Reader) -> Result<Self> {
        let fused = Fused::new(graph)?;
        let pack = |step: &Step| match &step.operation {
            Operation::Conv { depthwise, conv } => {
                let folded = Folded::new(conv, read)?;
                let of_group = |group| {
                    let depthwise =
                        depthwise.as_ref().map(|depthwise| DepthwiseConv::new(depthwise, read)).transpose()?;
                    DenseConv::new(conv, &folded, group, depthwise, (kernels, precision))
                };
                Ok(StepWeights::Dense((0..conv.conv.groups).into_par_iter().map(of_group).collect::<Result<_>>()?))
            }
            Operation::Depthwise(depthwise) => Ok(StepWeights::Depthwise(DepthwiseConv::new(depthwise, read)?)),
            _ => Ok(StepWeights::None),
        };
        let weights = fused.steps.par_iter().map(pack).collect::<Result<_>>()?;
        Ok(Self { fused, weights })
    }
}
