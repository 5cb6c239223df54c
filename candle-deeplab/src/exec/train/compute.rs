//! The forward and the backward computation of one step.

use candle_core::{Result, Tensor, bail};

use super::plan::{Norm, Step};
use crate::exec::eager;
use crate::graph::{Activation, Graph, Op, Size, Value};
use crate::ops::{self, Statistics};

/// What the backward pass of a step needs beside the values that it read.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Its result, before dropout.
    pub(super) result: Option<Tensor>,
    /// The statistics that a norm took from the batch.
    pub(super) statistics: Option<Statistics>,
    /// The factors of dropout.
    pub(super) masks: Vec<Tensor>,
}

/// The gradients of a step's inputs and parameters. A gradient that was not asked for may be missing.
#[derive(Debug, Default)]
pub(super) struct Gradients {
    pub(super) inputs: Vec<Option<Tensor>>,
    pub(super) parameters: Vec<Option<Tensor>>,
}

impl Gradients {
    fn of_inputs(inputs: impl IntoIterator<Item = Tensor>) -> Self {
        Self { inputs: inputs.into_iter().map(Some).collect(), parameters: Vec::new() }
    }
}

/// A step and what it depends on beside its inputs.
pub(super) struct Work<'a> {
    pub(super) graph: &'a Graph,
    pub(super) step: &'a Step,
    /// The value that it computes.
    pub(super) value: Value,
    /// The sizes of all values, by node.
    pub(super) sizes: &'a [Size],
    /// The parameters of its node, or of the norm.
    pub(super) parameters: &'a [Tensor],
}

impl Work<'_> {
    /// Computes the value from those of the inputs.
    pub(super) fn forward(&self, image: &Tensor, inputs: &[Tensor]) -> Result<(Tensor, Kept)> {
        let node = self.graph.node(self.value);
        let mut statistics = None;
        let value = match (self.step.norm, node.op, inputs) {
            (Some(norm), _, [x]) => {
                let (y, of_batch) = self.norm(norm, x)?;
                statistics = of_batch;
                y
            }
            (None, Op::Input, []) => image.clone(),
            (None, Op::Conv(conv), [x]) => {
                let [kernel, bias @ ..] = self.parameters else { bail!("a convolution has a kernel") };
                let y = ops::conv2d(x, kernel, conv.groups, eager::windows(node, x)?)?;
                match bias {
                    [bias] => ops::add_bias(&y, bias)?,
                    _ => y,
                }
            }
            (None, Op::Activation(activation), [x]) => ops::activation(x, activation)?,
            (None, Op::Add, [a, b]) => ops::add(a, b)?,
            (None, Op::Multiply, [x, gate]) => ops::multiply(x, gate)?,
            (None, Op::Concat, xs) => ops::concat(&xs.iter().collect::<Vec<_>>())?,
            (None, Op::Resize { align_corners }, [x]) => ops::resize_bilinear(x, self.side(self.value), align_corners)?,
            (None, Op::MaxPool(_), [x]) => ops::max_pool2d(x, eager::windows(node, x)?)?,
            (None, Op::GlobalPool, [x]) => ops::global_pool(x)?,
            (_, op, _) => bail!("{op:?} with {} inputs", inputs.len()),
        };
        let result = self.step.keeps_result.then(|| value.clone());
        Ok((value, Kept { result, statistics, masks: Vec::new() }))
    }

    fn norm(&self, norm: Norm, x: &Tensor) -> Result<(Tensor, Option<Statistics>)> {
        let [gamma, beta, ..] = self.parameters else { bail!("a norm has four parameters") };
        if norm.of_batch {
            let (y, statistics) = ops::batch_norm_train(x, gamma, beta, norm.eps, norm.activation)?;
            return Ok((y, Some(statistics)));
        }
        let stored = self.stored(x)?;
        Ok((ops::batch_norm_with(x, gamma, beta, &stored, norm.eps, norm.activation)?, None))
    }

    /// The stored statistics of a norm.
    fn stored(&self, x: &Tensor) -> Result<Statistics> {
        let [_, _, mean, variance] = self.parameters else { bail!("a norm has four parameters") };
        let (n, _, height, width) = x.dims4()?;
        Ok(Statistics { mean: mean.clone(), variance: variance.clone(), count: n * height * width })
    }

    /// The gradients for the gradient `dy` of the value. `inputs` are the values that the step has kept.
    pub(super) fn backward(&self, inputs: &[Option<Tensor>], kept: &Kept, dy: &Tensor) -> Result<Gradients> {
        let node = self.graph.node(self.value);
        let input = |which: usize| match inputs.get(which) {
            Some(Some(input)) => Ok(input),
            _ => bail!("input {which} was not kept"),
        };
        match (self.step.norm, node.op) {
            (Some(norm), _) if self.step.is_fixed_norm() => self.fixed_norm_backward(norm, kept, dy),
            (Some(norm), _) => {
                let [gamma, beta, ..] = self.parameters else { bail!("a norm has four parameters") };
                let x = input(0)?;
                let statistics = kept.statistics.clone().map_or_else(|| self.stored(x), Ok)?;
                let (eps, frozen) = (norm.eps, !norm.of_batch);
                let (dx, dgamma, dbeta) =
                    ops::batch_norm_backward(x, gamma, beta, &statistics, eps, norm.activation, dy, frozen)?;
                Ok(Gradients { inputs: vec![Some(dx)], parameters: vec![Some(dgamma), Some(dbeta)] })
            }
            (None, Op::Input | Op::BatchNorm { .. }) => Ok(Gradients::default()),
            (None, Op::Conv(conv)) => {
                let ([kernel, ..], x) = (self.parameters, input(0)?) else { bail!("a convolution has a kernel") };
                let bias = if conv.bias { Some(ops::bias_backward(dy)?) } else { None };
                let (wants, windows) = (self.step.input_gradients.contains(&true), eager::windows(node, x)?);
                let (dx, dk) = ops::conv2d_backward(x, kernel, conv.groups, windows, dy, wants)?;
                Ok(Gradients { inputs: vec![dx], parameters: vec![Some(dk), bias] })
            }
            (None, Op::Activation(activation)) => match &kept.result {
                Some(y) => Ok(Gradients::of_inputs([slope_of(activation, y, dy)?])),
                None => Ok(Gradients::of_inputs([ops::activation_backward(input(0)?, activation, dy)?])),
            },
            (None, Op::Add) => Ok(Gradients::of_inputs(vec![dy.clone(); self.step.inputs.len()])),
            (None, Op::Concat) => {
                let channels: Vec<usize> = self.step.inputs.iter().map(|x| self.graph.node(*x).channels).collect();
                Ok(Gradients::of_inputs(ops::concat_backward(dy, &channels)?))
            }
            (None, Op::Multiply) => {
                let (dx, dgate) = ops::multiply_backward(input(0)?, input(1)?, dy)?;
                Ok(Gradients::of_inputs([dx, dgate]))
            }
            (None, Op::Resize { align_corners }) => {
                let dx = ops::resize_bilinear_backward(dy, self.input_side()?, align_corners)?;
                Ok(Gradients::of_inputs([dx]))
            }
            (None, Op::MaxPool(_)) => {
                let x = input(0)?;
                Ok(Gradients::of_inputs([ops::max_pool2d_backward(x, eager::windows(node, x)?, dy)?]))
            }
            (None, Op::GlobalPool) => Ok(Gradients::of_inputs([ops::global_pool_backward(dy, self.input_side()?)?])),
        }
    }

    /// The gradient of a norm of which nothing is trained, and which does not follow the batch: of its input alone.
    fn fixed_norm_backward(&self, norm: Norm, kept: &Kept, dy: &Tensor) -> Result<Gradients> {
        let [gamma, _, _, variance] = self.parameters else { bail!("a norm has four parameters") };
        let dy = match (norm.activation, &kept.result) {
            (Some(activation), Some(y)) => slope_of(activation, y, dy)?,
            _ => dy.clone(),
        };
        let scale = (gamma / (variance + norm.eps)?.sqrt()?)?.reshape((1, (), 1, 1))?;
        Ok(Gradients::of_inputs([dy.broadcast_mul(&scale)?]))
    }

    /// Height and width of a value.
    fn side(&self, value: Value) -> (usize, usize) {
        let Size { height, width } = self.sizes[value.index()];
        (height, width)
    }

    /// Height and width of the first input.
    fn input_side(&self) -> Result<(usize, usize)> {
        match self.step.inputs.first() {
            Some(x) => Ok(self.side(*x)),
            None => bail!("it has no input"),
        }
    }
}

/// `dy` times the slope of an activation whose slope follows from its result `y`.
fn slope_of(activation: Activation, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    if y.device().is_cpu() {
        // Where the result lies between the bends, it is the argument, and the bends have no slope.
        return ops::activation_backward(y, activation, dy);
    }
    // Candle's autograd has slopes at the bends.
    let passes = match activation {
        Activation::Relu6 => (y.gt(0f32)? * y.lt(6f32)?)?,
        _ => y.gt(0f32)?,
    };
    dy * passes.to_dtype(dy.dtype())?
}
