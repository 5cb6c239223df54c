//! A training run: from a recipe to a model directory.

mod event;
mod folder;
mod journal;
mod network;
mod speed;
mod trainer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use candle_deeplab::DeepLab;

pub use event::{End, Event, Outcome, Progress};
pub use folder::RECIPE_FILE;
pub use journal::{CURVES_FILE, LOG_FILE};

use crate::checkpoint::{Checkpoints, State};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::eval::{self, Judged};
use crate::loader::Loader;
use crate::recipe::Recipe;
use folder::Folder;
use journal::Journal;
use network::Network;
use speed::Speed;
use trainer::Trainer;

/// What is to be done.
#[derive(Debug)]
pub struct Job {
    /// The recipe.
    pub recipe: Recipe,
    /// The model that the recipe's `model.start` names. A run that [has begun](has_begun) does not need it.
    pub start: Option<DeepLab>,
    /// The run's folder.
    pub out: PathBuf,
    /// Where the network is trained.
    pub device: Device,
    /// Whether to go on from the last checkpoint in the run's folder.
    pub resume: bool,
    /// The step to stop at, if that is before the end of the schedule.
    pub stop_at: Option<usize>,
}

/// Trains a network after a recipe, and writes the best one into the run's folder, from which
/// [`DeepLab::load`] reads it.
///
/// The run ends after the recipe's steps, or after the step in which `stop` returns true: it is saved, and a resumed run
/// goes on as if it had not stopped, on the CPU with the same number of threads bit for bit.
///
/// # Errors
/// Those of the recipe, of the data and of the run's folder, before the first step; [`Error::Diverged`] where the loss or
/// a gradient is no longer finite. The last checkpoint and the best model stay whole in any case.
pub fn train(job: Job, stop: &dyn Fn() -> bool, tell: &mut dyn FnMut(Event)) -> Result<Outcome> {
    let (run, state) = Run::prepare(job, tell)?;
    run.go(state, stop, tell)
}

/// Whether a run has a checkpoint in its folder, from which it can be resumed.
///
/// # Errors
/// [`Error::Io`] where the folder cannot be read.
pub fn has_begun(out: &Path) -> Result<bool> {
    Ok(!Checkpoints::of(out).steps()?.is_empty())
}

/// A run that is ready to go.
struct Run {
    recipe: Recipe,
    folder: Folder,
    checkpoints: Checkpoints,
    journal: Journal,
    data: Arc<Dataset>,
    validation: Option<Dataset>,
    trainer: Trainer,
    stop_at: usize,
}

impl Run {
    fn prepare(job: Job, tell: &mut dyn FnMut(Event)) -> Result<(Self, State)> {
        let Job { recipe, start, out, device, resume, stop_at } = job;
        let folder = Folder::open(&out)?;
        let checkpoints = Checkpoints::of(folder.path());
        if has_begun(&out)? && !resume {
            return Err(Error::data(&out, "there is a run in this folder: resume it, or choose another folder"));
        }
        let (checkpoint, damaged) = checkpoints.last()?;
        match (&checkpoint, damaged.first()) {
            (None, Some(first)) => {
                let reason = format!("none of its checkpoints is whole ({first}): choose another folder");
                return Err(Error::data(&out, reason));
            }
            (None, None) => folder.check_unused()?,
            (Some(_), _) => damaged.iter().for_each(|error| tell(Event::Note(format!("passed over: {error}")))),
        }
        let data = Arc::new(Dataset::open(&recipe.data, &recipe.train.split)?);
        data.note().into_iter().for_each(|note| tell(Event::Note(note.to_owned())));
        let validation = match recipe.validate.split.as_str() {
            "" => None,
            split => Some(Dataset::open_for(&recipe.data, split, &data.labels)?),
        };
        let (network, origin, state) = match &checkpoint {
            Some(checkpoint) => {
                same_recipe(&recipe, &checkpoint.state.recipe, &out)?;
                (Network::resumed(checkpoint, &device)?, None, checkpoint.state.clone())
            }
            None => {
                let (network, origin) = Network::started(&recipe, start.as_ref(), &data, &device)?;
                let state = State::first(&recipe, &network.config)?;
                (network, Some(origin), state)
            }
        };
        let mut trainer = Trainer::new(&recipe, network)?;
        if let Some(checkpoint) = &checkpoint {
            trainer.load(checkpoint)?;
        }
        let stop_at = stop_at.map_or(recipe.schedule.steps, |stop| stop.min(recipe.schedule.steps));
        folder.write_recipe(&recipe)?;
        let journal = Journal::open(folder.path(), state.step)?;
        tell(Event::Started {
            origin,
            step: state.step,
            stop: stop_at,
            images: data.len(),
            classes: data.labels.names.len(),
            parameters: trainer.trained(),
        });
        Ok((Self { recipe, folder, checkpoints, journal, data, validation, trainer, stop_at }, state))
    }

    fn go(mut self, mut state: State, stop: &dyn Fn() -> bool, tell: &mut dyn FnMut(Event)) -> Result<Outcome> {
        let accumulate = self.recipe.optimizer.accumulate.max(1);
        let first = (state.step * accumulate) as u64;
        let preprocessing = self.trainer.config().preprocessing.clone();
        let (recipe, data) = (self.recipe.clone(), self.data.clone());
        let mut batches = Loader::new(data, &recipe.augment, &preprocessing, &recipe.loader, recipe.seed, first)?;
        let (mut speed, before) = (Speed::default(), state.seconds);
        let mut end = End::Done;
        while state.step < self.stop_at {
            let started = Instant::now();
            let step = self.trainer.step(state.step, &mut batches).map_err(|source| Error::Run {
                step: state.step + 1,
                out: self.folder.path().to_owned(),
                source: Box::new(source),
            })?;
            for skipped in &step.skipped {
                tell(Event::Note(format!("skipped: {}", skipped.error)));
            }
            state.step += 1;
            state.skipped += step.skipped.len();
            speed.step(started);
            state.seconds = before + speed.total().as_secs_f64();
            let seconds = speed.seconds_per_step();
            let progress = Progress {
                step: state.step,
                stop: self.stop_at,
                loss: step.loss,
                accuracy: step.accuracy,
                rate: step.rate,
                gradient_norm: step.gradient_norm,
                images_per_second: (recipe.loader.batch * accumulate) as f64 / seconds.max(1e-9),
                seconds_left: seconds * (self.stop_at - state.step) as f64,
            };
            self.journal.step(&progress)?;
            tell(Event::Step(progress));
            // Where a run is stopped must not change it: a resumed one validates at the same steps.
            if state.step.is_multiple_of(recipe.validate.every) || state.step == recipe.schedule.steps {
                self.validate(&mut state, tell)?;
            }
            let stopped = stop();
            let worn_out = recipe.validate.patience.is_some_and(|patience| state.stale >= patience);
            let ends = state.step == self.stop_at || stopped || worn_out;
            if ends || state.step.is_multiple_of(recipe.checkpoints.every) {
                self.save(&state, tell)?;
            }
            if ends {
                end = match (stopped, worn_out) {
                    (true, _) => End::Stopped,
                    (false, true) => End::NoLongerBetter,
                    (false, false) => End::Done,
                };
                break;
            }
        }
        if state.step > 0 {
            self.journal.draw()?;
        }
        let State { step, best, skipped, seconds, .. } = state;
        Ok(Outcome { end, step, best, skipped, seconds })
    }

    /// Validates the network, if there is a split for it, and writes it as the run's model if it is the best so far.
    fn validate(&mut self, state: &mut State, tell: &mut dyn FnMut(Event)) -> Result<()> {
        let Some(data) = &self.validation else { return Ok(()) };
        let segmenter = candle_deeplab::Segmenter::new(self.trainer.model()?);
        let options = eval::Options { limit: self.recipe.validate.images, ..eval::Options::default() };
        let found = eval::evaluate(Judged::Network(&segmenter), data, &options, |_, _| {})?;
        let (step, miou) = (state.step, found.report.miou);
        let best = state.best.is_none_or(|(_, best)| miou > best);
        if best {
            (state.best, state.stale) = (Some((step, miou)), 0);
            self.write_model()?;
        } else {
            state.stale += 1;
        }
        self.journal.validation(step, &found.report)?;
        for index in 0..self.recipe.validate.pictures.min(data.len()) {
            self.journal.picture(step, data, index, &segmenter)?;
        }
        tell(Event::Validated { step, miou, best });
        Ok(())
    }

    fn save(&self, state: &State, tell: &mut dyn FnMut(Event)) -> Result<()> {
        // As long as nothing has been validated, the run's model is the last one.
        if state.best.is_none() {
            self.write_model()?;
        }
        let checkpoint = self.trainer.checkpoint(state.clone())?;
        let path = self.checkpoints.save(checkpoint, self.recipe.checkpoints.keep)?;
        tell(Event::Saved { step: state.step, path });
        Ok(())
    }

    fn write_model(&self) -> Result<()> {
        self.folder.write_model(self.trainer.config(), self.trainer.weights()?)
    }
}

/// Checks that a run is resumed with the recipe that it began with.
fn same_recipe(recipe: &Recipe, text: &str, out: &Path) -> Result<()> {
    let before = Recipe::parse(text, out, &[])?;
    let differences = recipe.differences(&before)?;
    if differences.is_empty() {
        return Ok(());
    }
    let reason = format!(
        "its run has another recipe ({}): resume it with its own recipe.toml, or start another run from its model with \
         `model.start`",
        differences.join(", ")
    );
    Err(Error::data(out, reason))
}
