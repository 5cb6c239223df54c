//! A forward pass that can be followed by a backward pass.

use std::time::{Duration, Instant};

use candle_core::Tensor;

use super::Training;
use super::compute::{Gradients, Kept, Work};
use super::dropout;
use super::mode::Mode;
use super::plan::Plan;
use crate::error::{Error, Result};
use crate::graph::{Node, Param, Size, Value};
use crate::ops::{self, Statistics};

/// The values of a forward pass, and what its backward pass needs.
#[derive(Debug)]
pub struct Pass<'a> {
    training: &'a Training,
    plan: Plan,
    sizes: Vec<Size>,
    wanted: Vec<Value>,
    frozen: Vec<bool>,
    /// By node: the values that are wanted, and those that the backward pass needs.
    pub(super) values: Vec<Option<Tensor>>,
    /// By node.
    pub(super) kept: Vec<Kept>,
    statistics: Vec<(usize, Tensor)>,
    times: Vec<Duration>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(training: &'a Training, pixels: &Tensor, wanted: &[Value], mode: &Mode) -> Result<Self> {
        let graph = training.graph();
        let nodes = graph.nodes();
        training.check_pixels(pixels)?;
        mode.check(graph)?;
        if wanted.iter().any(|value| value.index() >= nodes.len()) {
            return Err(Error::Training("a value is wanted that the network does not have".into()));
        }
        let (_, _, height, width) = pixels.dims4()?;
        let sizes = graph.sizes(height, width)?;
        let is_frozen = |(index, param): (usize, &Param)| !param.role.is_trainable() || mode.frozen.contains(&index);
        let frozen: Vec<bool> = training.params().iter().enumerate().map(is_frozen).collect();
        let mut trained = vec![false; nodes.len()];
        for (param, frozen) in training.params().iter().zip(&frozen) {
            trained[param.node.index()] |= !frozen;
        }
        let plan = Plan::new(graph, wanted, mode, &trained);
        let values = vec![None; nodes.len()];
        let kept = nodes.iter().map(|_| Kept::default()).collect();
        let (statistics, times) = (Vec::new(), vec![Duration::ZERO; nodes.len()]);
        let mut pass = Self { training, plan, sizes, wanted: wanted.to_vec(), frozen, values, kept, statistics, times };
        pass.forward(&pixels.detach(), mode)?;
        Ok(pass)
    }

    fn forward(&mut self, image: &Tensor, mode: &Mode) -> Result<()> {
        let graph = self.training.graph();
        for value in graph.values() {
            let index = value.index();
            let Some(step) = self.plan.steps[index].clone() else { continue };
            let start = Instant::now();
            let inputs: Vec<Tensor> = step.inputs.iter().filter_map(|x| self.values[x.index()].clone()).collect();
            // A value that nothing else needs is freed as soon as this step has its result.
            for x in &step.inputs {
                self.plan.uses[x.index()] -= 1;
                if self.plan.uses[x.index()] == 0 && self.plan.released_by[x.index()].is_none() {
                    self.values[x.index()] = None;
                }
            }
            let norm = step.norm.map_or(index, |norm| norm.node);
            let parameters = self.training.tensors_of(norm);
            let work = Work { graph, step: &step, value, sizes: &self.sizes, parameters: &parameters };
            let computed = work.forward(image, &inputs).map_err(at(graph.node(value)))?;
            let (mut result, mut kept) = computed;
            if let Some(statistics) = &kept.statistics {
                self.running(norm, &parameters, statistics, mode.momentum)?;
            }
            let points = mode.dropout.iter().enumerate().filter(|(_, dropout)| dropout.value == value);
            for (stream, dropout) in points.filter(|(_, dropout)| dropout.rate > 0.0) {
                let mask = dropout::mask(&result, dropout, mode.seed, stream as u64)?;
                result = ops::multiply(&result, &mask)?;
                if step.differentiates {
                    kept.masks.push(mask);
                }
            }
            self.values[index] = Some(result);
            if step.differentiates {
                self.kept[index] = kept;
            }
            self.times[index] = start.elapsed();
        }
        Ok(())
    }

    /// Notes the new running statistics of a norm.
    fn running(&mut self, norm: usize, parameters: &[Tensor], batch: &Statistics, momentum: f64) -> Result<()> {
        let [_, _, mean, variance] = parameters else { return Ok(()) };
        let first = self.training.positions(norm).start;
        let moved =
            |old: &Tensor, new: &Tensor| -> Result<Tensor> { Ok(((old * (1.0 - momentum))? + (new * momentum)?)?) };
        self.statistics.push((first + 2, moved(mean, &batch.mean)?));
        // One number has no variance that could be estimated: the stored one stays.
        if batch.count > 1 {
            let unbiased = (&batch.variance * (batch.count as f64 / (batch.count - 1) as f64))?;
            self.statistics.push((first + 3, moved(variance, &unbiased)?));
        }
        Ok(())
    }

    /// One of the wanted values, `[N, C, h, w]`; `None` for any other value.
    pub fn value(&self, value: Value) -> Option<&Tensor> {
        if self.wanted.contains(&value) { self.values[value.index()].as_ref() } else { None }
    }

    /// The new running statistics of the norms that normalised with those of the batch: positions in
    /// [`Graph::params`](crate::graph::Graph::params), and tensors. The variance is the unbiased one, as in PyTorch and
    /// in TensorFlow's fused batch norm. A norm of a single number keeps its stored variance.
    /// [`Training::apply_statistics`] stores them.
    pub fn statistics(&self) -> &[(usize, Tensor)] {
        &self.statistics
    }

    /// The gradient for each parameter, in the order of [`Graph::params`](crate::graph::Graph::params), from the
    /// gradients of wanted values (several for one value are added up). It is `None` for a parameter that is frozen,
    /// that no seed depends on, and for statistics of norms. Feature maps are freed on the way.
    ///
    /// # Errors
    /// [`Error::Training`] for a gradient of a value that was not wanted, or that has another shape, type or device
    /// than the value; [`Error::Candle`] where candle cannot compute on the device.
    pub fn backward(self, seeds: Vec<(Value, Tensor)>) -> Result<Vec<Option<Tensor>>> {
        self.backward_timed(seeds).map(|(gradients, _)| gradients)
    }

    /// The time that the computation of each value took, by [`Value::index`]. That of a batch norm is part of its
    /// activation's, where only this reads it. On a GPU, computations end later than they seem to.
    pub fn times(&self) -> &[Duration] {
        &self.times
    }

    /// [`backward`](Self::backward), with the time that the gradients of each node took, as by [`times`](Self::times).
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    pub fn backward_timed(mut self, seeds: Vec<(Value, Tensor)>) -> Result<(Vec<Option<Tensor>>, Vec<Duration>)> {
        let mut times = vec![Duration::ZERO; self.times.len()];
        let graph = self.training.graph();
        let mut gradients: Vec<Option<Tensor>> = vec![None; graph.nodes().len()];
        let mut parameters: Vec<Option<Tensor>> = vec![None; self.training.params().len()];
        for (value, seed) in seeds {
            self.check_seed(value, &seed)?;
            add(&mut gradients[value.index()], seed.detach())?;
        }
        for index in 0..graph.nodes().len() {
            if self.plan.released_by[index].is_none() {
                self.values[index] = None;
            }
        }
        let mut releases: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes().len()];
        for (value, step) in self.plan.released_by.iter().enumerate() {
            step.iter().for_each(|step| releases[*step].push(value));
        }
        let values: Vec<Value> = graph.values().collect();
        for value in values.into_iter().rev() {
            let (index, start) = (value.index(), Instant::now());
            let kept = std::mem::take(&mut self.kept[index]);
            let gradient = gradients[index].take();
            if let (Some(step), Some(mut dy)) = (&self.plan.steps[index], gradient)
                && step.differentiates
            {
                for mask in kept.masks.iter().rev() {
                    dy = ops::multiply(&dy, mask)?;
                }
                let inputs: Vec<Option<Tensor>> = step.inputs.iter().map(|x| self.values[x.index()].clone()).collect();
                let node = step.norm.map_or(index, |norm| norm.node);
                let tensors = self.training.tensors_of(node);
                let work = Work { graph, step, value, sizes: &self.sizes, parameters: &tensors };
                let found = work.backward(&inputs, &kept, &dy).map_err(at(graph.node(value)))?;
                let Gradients { inputs: of_inputs, parameters: of_parameters } = found;
                for ((x, needed), dx) in step.inputs.iter().zip(&step.input_gradients).zip(of_inputs) {
                    if let (true, Some(dx)) = (needed, dx) {
                        add(&mut gradients[x.index()], dx)?;
                    }
                }
                for (position, gradient) in self.training.positions(node).zip(of_parameters) {
                    if !self.frozen[position] {
                        parameters[position] = gradient;
                    }
                }
            }
            for released in &releases[index] {
                self.values[*released] = None;
            }
            times[index] = start.elapsed();
        }
        Ok((parameters, times))
    }

    fn check_seed(&self, value: Value, seed: &Tensor) -> Result<()> {
        let Some(of) = self.value(value) else {
            return Err(Error::Training("a gradient of a value that the forward pass was not asked for".into()));
        };
        let same = of.dims() == seed.dims() && of.dtype() == seed.dtype();
        if same && of.device().same_device(seed.device()) {
            return Ok(());
        }
        let described = |t: &Tensor| format!("{:?} of {:?} on {:?}", t.dims(), t.dtype(), t.device().location());
        let path = &self.training.graph().node(value).path;
        Err(Error::Training(format!("a gradient {} of `{path}`, which is {}", described(seed), described(of))))
    }
}

/// Adds to a sum, whose first part is moved into it.
fn add(sum: &mut Option<Tensor>, part: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => ops::add(&sum, &part)?,
        None => part,
    });
    Ok(())
}

/// Names the node in an error.
fn at(node: &Node) -> impl FnOnce(candle_core::Error) -> Error + '_ {
    |error| error.context(format!("network node `{}`", node.path)).into()
}
