//! A run's folder: the model, the recipe, checkpoints and logs.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use candle_deeplab::{CONFIG_FILE, Config, WEIGHTS_FILE, atomic};

use crate::error::{Error, Result};
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
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::data(
                    path,
                    "another process trains in this folder: choose another one with `--out`",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(&lock)(error)),
        }
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

    /// Whether the folder has a model.
    pub(super) fn has_model(&self) -> bool {
        self.path.join(WEIGHTS_FILE).exists()
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
