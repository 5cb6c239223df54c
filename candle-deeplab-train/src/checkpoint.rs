//! Checkpoints: everything that a run needs to go on as if it had never stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use candle_deeplab::{Config, atomic};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::tensors::{self, Contents};

/// The folder of checkpoints in a run's folder.
const FOLDER: &str = "checkpoints";

/// The numbers of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// The version of the program that wrote it.
    pub(crate) version: String,
    /// The recipe as TOML.
    pub(crate) recipe: String,
    /// The model's config as JSON.
    pub(crate) config: String,
    /// Steps that are done. With the recipe's seed, this is the state of all random numbers and of the data.
    pub(crate) step: usize,
    /// The step of the best validation so far, and its mIoU.
    pub(crate) best: Option<(usize, f64)>,
    /// Validations since then.
    pub(crate) stale: usize,
    /// Samples that were skipped because they could not be read.
    pub(crate) skipped: usize,
    /// Seconds that training has taken.
    pub(crate) seconds: f64,
}

impl State {
    /// The state before the first step.
    pub(crate) fn first(recipe: &Recipe, config: &Config) -> Result<Self> {
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").into(),
            recipe: recipe.to_toml()?,
            config: serde_json::to_string(config).map_err(|e| Error::recipe("model", e.to_string()))?,
            step: 0,
            best: None,
            stale: 0,
            skipped: 0,
            seconds: 0.0,
        })
    }
}

/// A checkpoint: the numbers, and tensors by name.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// The tensors whose names begin with `part/`, under the rest of their names.
    pub(crate) fn part(&self, part: &str) -> BTreeMap<String, Tensor> {
        let strip = |(name, tensor): (&String, &Tensor)| {
            let rest = name.strip_prefix(part)?.strip_prefix('/')?;
            Some((rest.to_owned(), tensor.clone()))
        };
        self.tensors.iter().filter_map(strip).collect()
    }
}

/// The checkpoints of a run.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    /// The checkpoints in a run's folder.
    pub(crate) fn of(run: &Path) -> Self {
        Self { dir: run.join(FOLDER) }
    }

    /// The steps that have a checkpoint, in ascending order.
    pub(crate) fn steps(&self) -> Result<Vec<usize>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(Error::io(&self.dir)(error)),
        };
        let mut steps = vec![];
        for entry in entries {
            let name = entry.map_err(Error::io(&self.dir))?.file_name();
            let step = name.to_str().and_then(|name| name.strip_prefix("step-")?.strip_suffix(".safetensors"));
            steps.extend(step.and_then(|step| step.parse::<usize>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    fn path(&self, step: usize) -> PathBuf {
        self.dir.join(format!("step-{step:07}.safetensors"))
    }

    /// Writes a checkpoint atomically, then removes the older ones beyond the last `keep`, but for that of the best
    /// step.
    pub(crate) fn save(&self, checkpoint: Checkpoint, keep: usize) -> Result<PathBuf> {
        fs::create_dir_all(&self.dir).map_err(Error::io(&self.dir))?;
        atomic::remove_leftovers(&self.dir);
        let Checkpoint { state, tensors } = checkpoint;
        let path = self.path(state.step);
        let notes = serde_json::to_vec(&state).map_err(|e| Error::data(&path, e.to_string()))?;
        tensors::write(&path, &Contents { tensors, notes: Some(notes) })?;
        let best = state.best.map(|(step, _)| step);
        let steps = self.steps()?;
        let old = steps.iter().rev().filter(|step| **step <= state.step).skip(keep.max(1));
        for step in old.filter(|step| Some(**step) != best) {
            let path = self.path(*step);
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
        Ok(path)
    }

    /// The last checkpoint that is whole, and what is wrong with those after it. Checkpoints are written atomically, so
    /// only a damaged disk leaves one that is not whole.
    pub(crate) fn last(&self) -> Result<(Option<Checkpoint>, Vec<Error>)> {
        let mut damaged = vec![];
        for step in self.steps()?.into_iter().rev() {
            match self.read(step) {
                Ok(checkpoint) => return Ok((Some(checkpoint), damaged)),
                Err(error) => damaged.push(error),
            }
        }
        Ok((None, damaged))
    }

    fn read(&self, step: usize) -> Result<Checkpoint> {
        let path = self.path(step);
        let Contents { tensors, notes } = tensors::read(&path)?;
        let notes = notes.ok_or_else(|| Error::data(&path, "is not a checkpoint of this program"))?;
        let state: State = serde_json::from_slice(&notes).map_err(|e| Error::data(&path, e.to_string()))?;
        Ok(Checkpoint { state, tensors })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn checkpoint(step: usize, best: Option<(usize, f64)>) -> Checkpoint {
        let state = State {
            version: "1".into(),
            recipe: "seed = 1\n".into(),
            config: "{}".into(),
            step,
            best,
            stale: 0,
            skipped: 2,
            seconds: 1.5,
        };
        let tensor = Tensor::full(step as f32, 3, &Device::Cpu).unwrap();
        Checkpoint { state, tensors: [("model/a".to_owned(), tensor.clone()), ("ema/a".to_owned(), tensor)].into() }
    }

    #[test]
    fn the_last_ones_and_the_best_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::of(dir.path());
        assert_eq!(checkpoints.steps().unwrap(), [0usize; 0]);
        for step in [100, 200, 300, 400] {
            checkpoints.save(checkpoint(step, Some((100, 0.5))), 2).unwrap();
        }
        assert_eq!(checkpoints.steps().unwrap(), [100, 300, 400]);
        let (last, damaged) = checkpoints.last().unwrap();
        let last = last.unwrap();
        assert_eq!((last.state.clone(), damaged.len()), (checkpoint(400, Some((100, 0.5))).state, 0));
        assert_eq!(last.part("model").keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_damaged_one_is_passed_over_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::of(dir.path());
        for step in [1, 2] {
            checkpoints.save(checkpoint(step, None), 5).unwrap();
        }
        let path = checkpoints.path(2);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        fs::write(dir.path().join(FOLDER).join(".abcdef.incomplete"), "half").unwrap();
        let (last, damaged) = checkpoints.last().unwrap();
        assert_eq!(last.unwrap().state.step, 1);
        assert!(damaged[0].to_string().contains("step-0000002.safetensors"), "{}", damaged[0]);
    }
}
