//! The recipe of a training run, as a TOML file says it.

mod difference;
mod model;
mod set;
mod train;

use std::path::Path;

use candle_deeplab::file;
use serde::{Deserialize, Serialize};
use toml::Table;

pub use model::{AsppChanges, BackboneChoice, DecoderChanges, Head, Model, PreprocessingChanges};
pub use train::{BatchNorm, CheckpointRule, Train, Validate};

use crate::error::{Error, Result};
use crate::schedule::Schedule;
use crate::{augment, data, loader, loss, optim};

/// The largest recipe in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Settings that change how fast a run is, and where its files are, but nothing in its result.
const WITHOUT_EFFECT: [&str; 5] =
    ["data.dir", "loader.threads", "loader.ahead", "checkpoints.every", "checkpoints.keep"];

/// The recipe of a training run. Every section may be left out, where its defaults are the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The seed of everything random: new layers, the order of images, augmentation, dropout.
    #[serde(default)]
    pub seed: u64,
    /// The data set.
    pub data: data::Source,
    /// The network, and the weights that it starts with.
    pub model: Model,
    /// How images are varied.
    #[serde(default)]
    pub augment: augment::Recipe,
    /// How batches are made.
    #[serde(default)]
    pub loader: loader::Recipe,
    /// What is minimised.
    #[serde(default)]
    pub loss: loss::Recipe,
    /// How parameters follow their gradients.
    #[serde(default)]
    pub optimizer: optim::Recipe,
    /// The learning rate.
    #[serde(default)]
    pub schedule: Schedule,
    /// An average of the weights, which is validated and kept instead of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<optim::EmaRecipe>,
    /// How the network is trained.
    #[serde(default)]
    pub train: Train,
    /// How it is validated on the way.
    #[serde(default)]
    pub validate: Validate,
    /// When checkpoints are written.
    #[serde(default)]
    pub checkpoints: CheckpointRule,
}

impl Recipe {
    /// Reads a recipe from a file, and changes it by assignments such as `loader.batch=4`.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::Data`] where it is no recipe; [`Error::Recipe`] for a
    /// setting that cannot be used.
    pub fn from_file(path: &Path, set: &[String]) -> Result<Self> {
        let Some(text) = file::read_text(path, MAX_BYTES)? else {
            return Err(Error::data(path, format!("more than {MAX_BYTES} bytes is too large for a recipe")));
        };
        Self::parse(&text, path, set)
    }

    /// Reads a recipe from a text; errors call it `path`.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn parse(text: &str, path: &Path, set: &[String]) -> Result<Self> {
        let wrong = |e: &dyn std::fmt::Display| Error::data(path, e.to_string().trim_end().to_owned());
        let recipe: Self = if set.is_empty() {
            // From the text itself, errors have lines and columns.
            toml::from_str(text).map_err(|e| wrong(&e))?
        } else {
            let mut table: Table = text.parse().map_err(|e| wrong(&e))?;
            set.iter().try_for_each(|assignment| set::set(&mut table, assignment))?;
            Self::deserialize(table).map_err(|e| wrong(&e))?
        };
        recipe.validate()?;
        Ok(recipe)
    }

    /// The recipe as TOML, with all defaults.
    ///
    /// # Errors
    /// [`Error::Recipe`] where TOML cannot say it.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::recipe("recipe", e.to_string()))
    }

    /// The dotted paths of the settings in which two recipes differ, but for those that do not change the result.
    ///
    /// # Errors
    /// As [`to_toml`](Self::to_toml).
    pub fn differences(&self, other: &Self) -> Result<Vec<String>> {
        let table = |recipe: &Self| Table::try_from(recipe).map_err(|e| Error::recipe("recipe", e.to_string()));
        let all = difference::differences(&table(self)?, &table(other)?);
        Ok(all.into_iter().filter(|path| !WITHOUT_EFFECT.contains(&path.as_str())).collect())
    }

    fn validate(&self) -> Result<()> {
        let Self { train, validate, checkpoints, .. } = self;
        let positive = [
            ("validate.every", validate.every),
            ("validate.images", validate.images.unwrap_or(1)),
            ("checkpoints.every", checkpoints.every),
            ("checkpoints.keep", checkpoints.keep),
        ];
        if let Some((setting, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::recipe(setting, "must be at least 1"));
        }
        let shares = [
            ("train.batch_norm_momentum", train.batch_norm_momentum),
            ("train.dropout", train.dropout),
            ("train.channel_dropout", train.channel_dropout),
        ];
        if let Some((setting, value)) = shares.into_iter().find(|(_, value)| !(0.0..1.0).contains(value)) {
            return Err(Error::recipe(setting, format!("{value} must be at least 0 and less than 1")));
        }
        if !(0.0..=100.0).contains(&train.auxiliary_weight) {
            return Err(Error::recipe("train.auxiliary_weight", "must be from 0 to 100"));
        }
        self.schedule.check()?;
        self.optimizer.check()?;
        self.augment.validate()?;
        self.loader.validate(self.augment.crop)
    }
}

#[cfg(test)]
mod tests;
