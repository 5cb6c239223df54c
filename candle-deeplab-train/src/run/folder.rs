//! A run's folder: the model, the recipe, checkpoints and logs.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use candle_deeplab::{CONFIG_FILE, Config, WEIGHTS_FILE, atomic};

use crate::error::{Error, Result};
use crate::lines;
use crate::recipe::Recipe;
use crate::tensors::{self, Contents};

/// The file with the recipe as it was used.
pub const RECIPE_FILE: &str = "recipe.toml";
const LOCK_FILE: &str = ".lock";

/// A run's folder, which no other run uses at the same time.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Held as long as the run goes. The system frees it when the process ends, however it ends.
    _lock: File,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io(path))?;
        let lock = path.join(LOCK_FILE);
        let file = File::options().create(true).append(true).open(&lock).map_err(Error::io(&lock))?;
        lines::lock(&file, path, "another process trains in this folder: choose another one")?;
        atomic::remove_leftovers(path);
        Ok(Self { path: path.to_owned(), _lock: file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the model: the directory can be loaded from then on. The weights come last, and are replaced as a whole.
    pub(super) fn write_model(&self, config: &Config, tensors: Vec<(String, Tensor)>) -> Result<()> {
        let path = self.path.join(CONFIG_FILE);
        let text = serde_json::to_string_pretty(config).map_err(|e| Error::data(&path, e.to_string()))?;
        atomic::write(&path, |file| writeln!(file, "{text}"))?;
        tensors::write(&self.path.join(WEIGHTS_FILE), &Contents { tensors: tensors.into_iter().collect(), notes: None })
    }

    /// Checks that a run without a checkpoint replaces no model of others. Its own recipe tells that a model is of this
    /// run, which was ended between its first validation and its first checkpoint.
    pub(super) fn check_unused(&self) -> Result<()> {
        let has = |name: &str| self.path.join(name).exists();
        if (has(CONFIG_FILE) || has(WEIGHTS_FILE)) && !has(RECIPE_FILE) {
            return Err(Error::data(&self.path, "there is a model in this folder: choose another one for the run"));
        }
        Ok(())
    }

    /// Writes the recipe as it is used, with the version of the program.
    pub(super) fn write_recipe(&self, recipe: &Recipe) -> Result<()> {
        let text = recipe.to_toml()?;
        let version = env!("CARGO_PKG_VERSION");
        let content = |file: &mut std::io::BufWriter<&mut File>| {
            write!(file, "# The recipe of this run, with all defaults. candle-deeplab {version}\n\n{text}")
        };
        Ok(atomic::write(self.path.join(RECIPE_FILE), content)?)
    }
}
