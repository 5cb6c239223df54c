//! The files that a model's name leads to.

use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::Device;

use crate::error::Result;
use crate::hub::sha256_of_all;
use candle_deeplab::config::Config;
use candle_deeplab::{CONFIG_FILE, DeepLab, WEIGHTS_FILE};

/// Where a model's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// In a model directory.
    Directory(PathBuf),
    /// In this program: [`bundled`](candle_deeplab::bundled()).
    Bundled,
}

impl Files {
    /// The model directory; `None` for the bundled model.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(dir) => Some(dir),
            Self::Bundled => None,
        }
    }

    /// The SHA-256 of the recipe and the weights, one behind the other, in hex; `None` for the bundled model.
    ///
    /// # Errors
    /// [`Error::Cache`](crate::Error::Cache) where they cannot be read.
    pub fn digest(&self) -> Result<Option<String>> {
        let Self::Directory(dir) = self else { return Ok(None) };
        sha256_of_all(&[dir.join(CONFIG_FILE), dir.join(WEIGHTS_FILE)]).map(Some)
    }

    /// Loads the model.
    ///
    /// # Errors
    /// Those of [`DeepLab::load`].
    pub fn load(&self, device: &Device) -> Result<DeepLab> {
        match self {
            Self::Directory(dir) => Ok(DeepLab::load(dir, device)?),
            Self::Bundled => Ok(candle_deeplab::bundled(device)?),
        }
    }

    /// Reads the recipe only.
    ///
    /// # Errors
    /// Those of [`Config::from_file`].
    pub fn config(&self) -> Result<Config> {
        match self {
            Self::Directory(dir) => Ok(Config::from_file(&dir.join(CONFIG_FILE))?),
            Self::Bundled => Ok(candle_deeplab::bundled::config()?),
        }
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(dir) => dir.display().fmt(f),
            Self::Bundled => f.write_str("part of this program"),
        }
    }
}
