//! The errors of this crate.

use std::io;
use std::path::{Path, PathBuf};

use candle_core::{DType, DeviceLocation};

/// The errors of this crate. Every message names the file or node, says what is wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A `config.json` that is not a recipe this version understands.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder to load a model from does not exist.
    #[error(
        "there is no folder `{}`: name one that has config.json and model.safetensors. Published models are fetched by their names: \
         by `candle_deeplab_hub::load`, or by the program's `candle-deeplab pull`",
        path.display()
    )]
    NoFolder {
        /// The path that was given.
        path: PathBuf,
    },
    /// A [`Config`](crate::Config) made by code that describes no possible model.
    #[error("the config is not valid: {reason}")]
    Recipe {
        /// What is wrong with it.
        reason: String,
    },
    /// A file of class names that cannot be used.
    #[error("{}: {reason}", path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The network that a config describes cannot exist.
    #[error("network node `{node}`: {reason}")]
    Graph {
        /// Path of the node.
        node: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tap that the network does not have.
    #[error("the network has no tap `{tap}`; it has {}", available.join(", "))]
    NoSuchTap {
        /// The path asked for.
        tap: String,
        /// Similar paths that exist.
        available: Vec<String>,
    },
    /// Logits were requested from a backbone without a head.
    #[error(
        "this model is a backbone without a segmentation head: it has features and no classifier; train a network from it, \
         or convert the checkpoint of a whole one"
    )]
    NoHead,
    /// The model cannot run at this output stride.
    #[error(
        "output stride {requested} is not possible: choose 8, 16 or 32 such that the atrous rates {rates:?} (at output stride {at}) stay whole numbers"
    )]
    OutputStride {
        /// The requested output stride.
        requested: usize,
        /// The configured atrous rates.
        rates: Vec<usize>,
        /// The output stride that they belong to.
        at: usize,
    },
    /// The weights and the network disagree.
    #[error("{}: {}", path.display(), reason)]
    Weights {
        /// The weights file.
        path: PathBuf,
        /// Which tensor, what the network wants and what the file has.
        reason: String,
    },
    /// Scales at which an image cannot be segmented.
    #[error("scales {scales:?}: give one or more, each above 0 and at most 8")]
    Scales {
        /// The requested scales.
        scales: Vec<f64>,
    },
    /// Tiles that cannot cover an image.
    #[error("tiles of {height}×{width} pixels cannot overlap by {overlap}: make the overlap less than both sides")]
    Tiles {
        /// Rows of a tile.
        height: usize,
        /// Columns of a tile.
        width: usize,
        /// Rows and columns that neighbours share.
        overlap: usize,
    },
    /// The requested executor cannot run this model here.
    #[error("{0}")]
    Executor(String),
    /// The input of a forward pass has the wrong shape.
    #[error("the network's input must be [N, 3, H, W] with every side at least 1, got {shape:?}")]
    Input {
        /// The shape that was given.
        shape: Vec<usize>,
    },
    /// The input of a forward pass has another type than the weights.
    #[error(
        "the pixels are {actual:?} and the weights {expected:?}: convert them with `pixels.to_dtype(DType::{expected:?})`"
    )]
    Dtype {
        /// The weights' type.
        expected: DType,
        /// The pixels' type.
        actual: DType,
    },
    /// The input of a forward pass is on another device than the weights.
    #[error(
        "the pixels are on {actual:?} and the weights on {expected:?}: move them with `pixels.to_device(model.device())`"
    )]
    Device {
        /// Where the weights are.
        expected: DeviceLocation,
        /// Where the pixels are.
        actual: DeviceLocation,
    },
    /// Pixels in a buffer or a tensor that do not form an image.
    #[error("{reason}")]
    Pixels {
        /// What is wrong with them, and what to do.
        reason: String,
    },
    /// The output of a forward pass has the wrong shape.
    #[error("the logits must be {expected:?} ([N, classes, H, W], as large as the network's input), got {actual:?}")]
    Output {
        /// The shape that the labels and the input require.
        expected: [usize; 4],
        /// The shape that the network gave.
        actual: Vec<usize>,
    },
    /// An image could not be decoded or encoded.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The codec's error.
        source: image::ImageError,
    },
    /// An image file whose picture is larger than any that is decoded.
    #[error(
        "{}: its {width}×{height} pixels are {} MiB, and {} MiB are the limit: make the picture smaller, or cut it",
        path.display(), needed >> 20, limit >> 20
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Columns of the picture, as it is stored.
        width: u32,
        /// Rows of it.
        height: u32,
        /// Bytes, as they are decoded or as 8-bit red, green and blue.
        needed: u64,
        /// Bytes.
        limit: u64,
    },
    /// A part of an image file is missing.
    #[error("{}: the picture is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// An image would take more memory than it may.
    #[error(
        "{what} of an image of {width}×{height} pixels take about {} MiB, and {} MiB are the limit: make the image smaller, or \
         give it more memory",
        needed >> 20, limit >> 20
    )]
    Memory {
        /// The part that takes the memory.
        what: &'static str,
        /// Rows of the image.
        height: usize,
        /// Columns of the image.
        width: usize,
        /// Bytes.
        needed: u64,
        /// Bytes.
        limit: u64,
    },
    /// The variables, the mode or the gradients of a training pass do not fit the network.
    #[error("training: {0}")]
    Training(String),
    /// The network computed NaN somewhere.
    #[error("the network's answer is not a finite number: are the weights damaged?")]
    NotFinite,
    /// A label map, segmentation or picture cannot be made.
    #[error("{0}")]
    Mask(String),
    /// Label maps that cannot be compared, or counts that cannot be added.
    #[error("{0}")]
    Metrics(String),
    /// An error of candle.
    #[error(transparent)]
    Candle(candle_core::Error),
}

/// `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Converts it to an error of candle, for candle's traits. [`Error::from`] restores the original.
    pub(crate) fn into_candle(self) -> candle_core::Error {
        match self {
            Self::Candle(error) => error,
            // This is the only variant of candle's error that keeps the type of the inner error and shows only its
            // text.
            other => candle_core::Error::Io(io::Error::other(other)),
        }
    }

    pub(crate) fn config(path: &Path, reason: impl Into<String>) -> Self {
        Self::Config { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn weights(path: &Path, reason: impl Into<String>) -> Self {
        Self::Weights { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

impl From<candle_core::Error> for Error {
    /// Restores an error of this crate that went through one of candle's traits, such as
    /// [`Module::forward`](candle_core::Module::forward). Candle's own errors lose their backtraces.
    fn from(error: candle_core::Error) -> Self {
        match without_backtrace(error) {
            candle_core::Error::Io(error) => match error.downcast::<Self>() {
                Ok(ours) => ours,
                Err(error) => Self::Candle(error.into()),
            },
            error => Self::Candle(error),
        }
    }
}

/// Removes backtraces, whose text does not belong in messages.
fn without_backtrace(error: candle_core::Error) -> candle_core::Error {
    use candle_core::Error::{Context, WithBacktrace, WithPath};
    let inner = |inner: Box<candle_core::Error>| Box::new(without_backtrace(*inner));
    match error {
        WithBacktrace { inner, .. } => without_backtrace(*inner),
        Context { inner: cause, context } => Context { inner: inner(cause), context },
        WithPath { inner: cause, path } => WithPath { inner: inner(cause), path },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use std::backtrace::Backtrace;

    use super::*;

    #[test]
    fn an_error_goes_through_candle_and_stays_what_it_is() {
        let through = Error::NoHead.into_candle();
        assert_eq!(through.to_string(), Error::NoHead.to_string());
        assert!(matches!(Error::from(through), Error::NoHead));
        let traced = candle_core::Error::WithBacktrace {
            inner: Box::new(Error::NotFinite.into_candle()),
            backtrace: Box::new(Backtrace::force_capture()),
        };
        assert!(matches!(Error::from(traced), Error::NotFinite));
        let file = candle_core::Error::Io(io::Error::from(io::ErrorKind::NotFound));
        assert!(matches!(Error::from(file), Error::Candle(candle_core::Error::Io(_))));
    }

    #[test]
    fn candles_errors_lose_their_backtraces() {
        let traced = candle_core::Error::WithBacktrace {
            inner: Box::new(candle_core::Error::Msg("no room".into())),
            backtrace: Box::new(Backtrace::force_capture()),
        };
        let error = Error::from(traced.context("network node `a`"));
        assert_eq!(error.to_string(), "network node `a`\nno room");
    }
}
