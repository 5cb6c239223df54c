//! The errors of this crate.

use std::io;
use std::path::{Path, PathBuf};

/// The errors of this crate. Every message names the file or setting, says what is wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A data set, or one of its files, cannot be used.
    #[error("{}: {reason}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of a data set is damaged. Others of the set may be whole, so that training can go on without it.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting of a recipe that cannot be used.
    #[error("{setting}: {reason}")]
    Recipe {
        /// The setting as it stands in the recipe, e.g. `optimizer.momentum`.
        setting: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A label map holds an id that is no class of the network.
    #[error(
        "image {image} of the batch has pixels of class {id}, but the network has {classes} classes, 0 to {}, and 255 for \
         what is not judged: give the data set's labels as the network's classes",
        classes - 1
    )]
    Label {
        /// The id.
        id: usize,
        /// The number of the network's classes.
        classes: usize,
        /// The image's place in the batch.
        image: usize,
    },
    /// The loss or the gradients are not finite, so that a step would destroy the parameters.
    #[error(
        "the {what} is {value}: lower the learning rate, warm up for longer, or clip the gradients to a smaller norm"
    )]
    Diverged {
        /// What is not finite.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A run could not go on.
    #[error("step {step}: {source} (the model and the checkpoints in `{}` are whole)", out.display())]
    Run {
        /// The step that failed, counted from 1.
        step: usize,
        /// The run's folder.
        out: PathBuf,
        /// What happened.
        #[source]
        source: Box<Error>,
    },
    /// A saved state of an optimiser or an average does not fit the network.
    #[error("the saved state of `{name}` {reason}: resume with the recipe that the checkpoint was made with")]
    State {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A chart cannot be drawn.
    #[error("the chart cannot be drawn: {reason}")]
    Chart {
        /// Why.
        reason: String,
    },
    /// The network or the image library refused something.
    #[error(transparent)]
    Model(#[from] candle_deeplab::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes a system's error one that names the file.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn data(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_owned(), reason: reason.into() }
    }

    pub(crate) fn damaged(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.as_ref().to_owned(), reason: reason.into() }
    }

    /// Whether one file cannot be read or decoded, as opposed to a fault of the data set as a whole or of a setting.
    pub fn is_about_one_file(&self) -> bool {
        use candle_deeplab::Error as Model;
        matches!(self, Self::Io { .. } | Self::Damaged { .. })
            || matches!(self, Self::Model(Model::Io { .. } | Model::Image { .. } | Model::Damaged { .. }))
    }

    /// Makes an error of the drawing library one of this crate.
    pub(crate) fn chart(error: impl std::fmt::Display) -> Self {
        Self::Chart { reason: error.to_string() }
    }

    pub(crate) fn recipe(setting: &str, reason: impl Into<String>) -> Self {
        Self::Recipe { setting: setting.to_owned(), reason: reason.into() }
    }
}
