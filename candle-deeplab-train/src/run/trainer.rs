//! One step of training, and the state that it changes.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};
use candle_deeplab::arch::{AUXILIARY, BACKBONE};
use candle_deeplab::exec::train::{Dropout, Mode, Norms, Training};
use candle_deeplab::graph::{Graph, Param, Role, Value};
use candle_deeplab::{Config, DeepLab};
use candle_nn::VarBuilder;
use rand::RngCore;

use super::network::Network;
use crate::checkpoint::{Checkpoint, State};
use crate::error::{Error, Result};
use crate::loader::{Batch, Skipped};
use crate::loss::Loss;
use crate::optim::{self, Accumulator, Ema, Group, Optimizer};
use crate::random::{self, Purpose};
use crate::recipe::{BatchNorm, Recipe, Train};
use crate::schedule::Schedule;

/// The parts of a checkpoint.
const MODEL: &str = "model";
const OPTIMIZER: &str = "optimizer";
const EMA: &str = "ema";

/// A network with everything that training it changes.
#[derive(Debug)]
pub(super) struct Trainer {
    config: Config,
    training: Training,
    params: Vec<Param>,
    logits: Value,
    /// The auxiliary head's logits, and the weight of their loss.
    auxiliary: Option<(Value, f64)>,
    mode: Mode,
    loss: Loss,
    optimizer: Optimizer,
    accumulate: usize,
    ema: Option<Ema>,
    schedule: Schedule,
    seed: u64,
    trained: usize,
    device: Device,
}

/// What a step tells.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) loss: f64,
    /// The share of the judged pixels that are right.
    pub(super) accuracy: f64,
    pub(super) rate: f64,
    pub(super) gradient_norm: f64,
    pub(super) skipped: Vec<Skipped>,
}

impl Trainer {
    pub(super) fn new(recipe: &Recipe, network: Network) -> Result<Self> {
        let Network { config, graph, vars, device } = network;
        let logits = graph.logits().ok_or(candle_deeplab::Error::NoHead)?;
        let auxiliary = graph.tap(AUXILIARY).ok().map(|value| (value, recipe.train.auxiliary_weight));
        let params = graph.params();
        let groups = groups(recipe, &graph, &params);
        let mode = mode(&recipe.train, &graph, &groups)?;
        let trained = params.iter().zip(&groups).filter(|(_, group)| group.rate != 0.0);
        let trained = trained.map(|(param, _)| param.shape.iter().product::<usize>()).sum();
        if trained == 0 {
            return Err(Error::recipe("train.freeze", "leaves nothing to train"));
        }
        let optimizer = Optimizer::new(&recipe.optimizer, vars.clone(), groups)?;
        let named = params.iter().map(|param| param.name.clone()).zip(vars.iter().map(|var| var.as_tensor()));
        let ema = recipe.ema.as_ref().map(|recipe| Ema::new(recipe, named)).transpose()?;
        Ok(Self {
            loss: Loss::new(&recipe.loss, config.network.classes)?,
            training: Training::new(graph, vars)?,
            config,
            params,
            logits,
            auxiliary,
            mode,
            optimizer,
            accumulate: recipe.optimizer.accumulate,
            ema,
            schedule: recipe.schedule.clone(),
            seed: recipe.seed,
            trained,
            device,
        })
    }

    /// How many numbers are trained.
    pub(super) fn trained(&self) -> usize {
        self.trained
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Takes step number `step`, counted from 0, with the next batches.
    pub(super) fn step(&mut self, step: usize, batches: &mut impl Iterator<Item = Result<Batch>>) -> Result<Step> {
        let mut told = Step { rate: self.schedule.rate(step), ..Step::default() };
        let (mut mean, mut pixels, mut correct) = (Accumulator::new(self.accumulate), 0, 0);
        let gradients = loop {
            let batch = batches.next().ok_or_else(|| Error::recipe("data", "there are no more batches"))??;
            let seed = random::numbered(self.seed, Purpose::Dropout, [batch.number, 0]).next_u64();
            let mode = Mode { seed, ..self.mode.clone() };
            let input = batch.pixels.to_device(&self.device)?;
            let wanted: Vec<Value> =
                std::iter::once(self.logits).chain(self.auxiliary.map(|(value, _)| value)).collect();
            let pass = self.training.forward(&input, &wanted, &mode)?;
            let (mut seeds, mut loss) = (vec![], 0.0);
            for (value, weight) in std::iter::once((self.logits, 1.0)).chain(self.auxiliary) {
                let aligned = self.config.network.align_corners;
                let logits = pass.value(value).ok_or(candle_deeplab::Error::NoHead)?;
                let found = self.loss.compute(logits, &batch.labels, aligned, step)?;
                loss += weight * found.loss;
                if value == self.logits {
                    pixels += found.pixels;
                    correct += found.correct;
                }
                seeds.push((value, if weight == 1.0 { found.gradient } else { (found.gradient * weight)? }));
            }
            if !loss.is_finite() {
                return Err(Error::Diverged { what: "loss", value: loss });
            }
            told.loss += loss / self.accumulate as f64;
            told.skipped.extend(batch.skipped);
            self.training.apply_statistics(pass.statistics())?;
            let gradients = pass.backward(seeds)?;
            if let Some(gradients) = mean.add(gradients)? {
                break gradients;
            }
        };
        told.accuracy = correct as f64 / pixels.max(1) as f64;
        told.gradient_norm = self.optimizer.step(&gradients, told.rate)?;
        if let Some(ema) = &mut self.ema {
            ema.update(self.training.vars().iter().map(|var| var.as_tensor()))?;
        }
        Ok(told)
    }

    /// The weights that are validated and written: their average, where there is one. They do not change with training.
    pub(super) fn weights(&self) -> Result<Vec<(String, Tensor)>> {
        match &self.ema {
            Some(ema) => Ok(ema.averages().to_vec()),
            None => self.parameters(),
        }
    }

    /// Copies of the parameters, by name, on the CPU.
    fn parameters(&self) -> Result<Vec<(String, Tensor)>> {
        let copy = |(param, var): (&Param, &candle_core::Var)| {
            let tensor = var.as_detached_tensor().to_device(&Device::Cpu)?;
            Ok((param.name.clone(), if self.device.is_cpu() { tensor.copy()? } else { tensor }))
        };
        self.params.iter().zip(self.training.vars()).map(copy).collect()
    }

    /// The network as it is, for inference.
    pub(super) fn model(&self) -> Result<DeepLab> {
        let to_device = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_device(&self.device)?));
        let tensors = self.weights()?.into_iter().map(to_device).collect::<Result<_>>()?;
        Ok(DeepLab::new(&self.config, VarBuilder::from_tensors(tensors, DType::F32, &self.device))?)
    }

    pub(super) fn checkpoint(&self, state: State) -> Result<Checkpoint> {
        let part = |part: &'static str| move |(name, tensor): (String, Tensor)| (format!("{part}/{name}"), tensor);
        let mut tensors: Vec<_> = self.parameters()?.into_iter().map(part(MODEL)).collect();
        tensors.extend(self.optimizer.state()?.into_iter().map(part(OPTIMIZER)));
        if let Some(ema) = &self.ema {
            tensors.extend(ema.state()?.into_iter().map(part(EMA)));
        }
        Ok(Checkpoint { state, tensors: tensors.into_iter().collect() })
    }

    /// Takes over the optimiser's and the average's state of a checkpoint. The parameters are those of the network.
    pub(super) fn load(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.optimizer.load_state(checkpoint.part(OPTIMIZER))?;
        match &mut self.ema {
            Some(ema) => ema.load_state(checkpoint.part(EMA)),
            None => Ok(()),
        }
    }
}

/// The groups of the optimiser, without what the recipe freezes.
fn groups(recipe: &Recipe, graph: &Graph, params: &[Param]) -> Vec<Group> {
    let mut groups = optim::groups(graph, &recipe.optimizer.groups);
    let norms_are_frozen = |param: &Param| {
        let is_norm = matches!(param.role, Role::Gamma | Role::Beta);
        is_norm && has_frozen_norm(recipe.train.batch_norm, &param.name)
    };
    let is_frozen =
        |param: &Param| norms_are_frozen(param) || recipe.train.freeze.iter().any(|path| is_under(&param.name, path));
    params.iter().zip(&mut groups).filter(|(param, _)| is_frozen(param)).for_each(|(_, group)| group.rate = 0.0);
    groups
}

fn mode(train: &Train, graph: &Graph, groups: &[Group]) -> Result<Mode> {
    let norms = graph.params().into_iter().filter(|param| param.role == Role::Gamma);
    let stored = norms.filter(|param| {
        has_frozen_norm(train.batch_norm, &param.name) || train.freeze.iter().any(|path| is_under(&param.name, path))
    });
    let stored: BTreeSet<Value> = stored.map(|param| param.node).collect();
    let mut dropout = vec![];
    if train.dropout > 0.0 {
        dropout.push(Dropout::of_aspp(graph, train.dropout)?);
    }
    if train.channel_dropout > 0.0 {
        dropout.push(Dropout::before_classifier(graph, train.channel_dropout)?);
    }
    let frozen = groups.iter().enumerate().filter(|(_, group)| group.rate == 0.0).map(|(index, _)| index).collect();
    let norms = if stored.is_empty() { Norms::Batch } else { Norms::StoredIn(stored) };
    Ok(Mode { norms, momentum: train.batch_norm_momentum, dropout, seed: 0, frozen })
}

fn has_frozen_norm(rule: BatchNorm, name: &str) -> bool {
    match rule {
        BatchNorm::Trained => false,
        BatchNorm::Frozen => true,
        BatchNorm::FrozenBackbone => is_under(name, BACKBONE),
    }
}

/// Whether a parameter belongs to a path or one below it.
fn is_under(name: &str, path: &str) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
