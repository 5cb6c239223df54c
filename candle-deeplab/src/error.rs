//! What can go wrong in this crate.

use std::path::{Path, PathBuf};

/// What can go wrong in this crate. Every message names the file or node, the thing, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
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
    /// Logits were asked of a backbone without a head.
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
        /// What was asked for.
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
    /// Scales that an image cannot be looked at.
    #[error("scales {scales:?}: give one or more, each above 0 and at most 8")]
    Scales {
        /// What was asked for.
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
    /// The executor that was asked for cannot run this model here.
    #[error("{0}")]
    Executor(String),
    /// The input of a forward pass has the wrong shape.
    #[error("the network's input must be [N, 3, H, W] with every side at least 1, got {shape:?}")]
    Input {
        /// The shape that was given.
        shape: Vec<usize>,
    },
    /// Pixels in a buffer or a tensor that are no image.
    #[error("{reason}")]
    Pixels {
        /// What is wrong with them, and what to do.
        reason: String,
    },
    /// The output of a forward pass has the wrong shape.
    #[error("the logits must be {expected:?} ([1, classes, H, W], as large as the network's input), got {actual:?}")]
    Output {
        /// The shape that the labels and the input ask for.
        expected: [usize; 4],
        /// The shape that the network gave.
        actual: Vec<usize>,
    },
    /// An image could not be decoded or encoded.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What the codec said.
        source: image::ImageError,
    },
    /// The network computed NaN somewhere.
    #[error("the network's answer is not a number: are the weights damaged?")]
    NotANumber,
    /// A picture cannot be made from a segmentation.
    #[error("{0}")]
    Mask(String),
    /// Something inside candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// As an error of candle, for its traits; what came from candle goes back as it was.
    pub(crate) fn into_candle(self) -> candle_core::Error {
        match self {
            Self::Candle(error) => error,
            other => candle_core::Error::wrap(other),
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
