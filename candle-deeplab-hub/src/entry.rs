//! A row of the registry: what is known about a published model.

use serde::Serialize;

/// A published model: a row of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Entry {
    /// Its name in this program.
    pub id: &'static str,
    /// Other names for it, such as its publisher's.
    pub aliases: &'static [&'static str],
    /// What it is for.
    pub kind: Kind,
    /// A description of one line.
    pub description: &'static str,
    /// Its feature extractor, e.g. `xception65`.
    pub backbone: &'static str,
    /// The data set it was trained for: `voc`, `cityscapes`, `ade20k` or, for a backbone, `imagenet`.
    pub dataset: &'static str,
    /// Number of classes, background included.
    pub classes: usize,
    /// Output stride of the published weights (input size over feature size); 32 for a backbone.
    pub output_stride: usize,
    /// Height and width of the input that [`macs`](Self::macs) refers to.
    pub input: (usize, usize),
    /// Number of weights, batch norm's statistics included; `None` if it depends on the file.
    pub params: Option<u64>,
    /// Multiply-adds of the convolutions for one input; `None` if they depend on the file.
    pub macs: Option<u64>,
    /// Published results; none for a backbone.
    pub evaluations: &'static [Evaluation],
    /// The licence that the repository which publishes the weights names.
    pub licence: &'static str,
    /// The paper that describes the network.
    pub paper: &'static str,
    /// Where the weights are, the first choice first.
    pub sources: &'static [Source],
}

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Segments images.
    Segmentation,
    /// A feature extractor to start training from.
    Backbone,
}

/// A published result and how it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean intersection over union in percent.
    pub miou: f64,
    /// The part of the data set, `val` or `test`.
    pub split: &'static str,
    /// The output stride that the network ran at.
    pub output_stride: usize,
    /// The scales at which each image was segmented.
    pub scales: &'static [f64],
    /// Whether mirrored images were segmented too.
    pub flip: bool,
    /// Published multiply-adds of all scales and mirror images together, in 1e9.
    pub gmacs: Option<f64>,
}

/// Where a model's weights are, and what has to be known to read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The file's place.
    #[serde(flatten)]
    pub location: Location,
    /// What is known about the file but not stored in it.
    pub hints: Hints,
}

/// What a publisher says about the weights and the file does not contain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Hints {
    /// The output stride that the network was trained for (input size over feature size).
    pub output_stride: Option<usize>,
    /// Dilations of the ASPP's atrous branches at that output stride.
    pub atrous_rates: Option<&'static [usize]>,
    /// One of [`Labels::BUILTIN`](candle_deeplab::Labels::BUILTIN).
    pub labels: Option<&'static str>,
}

impl Hints {
    /// No hints: the file and the conventions of its code base suffice.
    pub const NONE: Self = Self { output_stride: None, atrous_rates: None, labels: None };
}

/// Where a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Location {
    /// A file in a repo on the Hub.
    Hub {
        /// `organisation/name`.
        repo: &'static str,
        /// A branch, a tag, or (the beginning of) a commit's hash.
        revision: &'static str,
        /// The file's path in the repo.
        file: &'static str,
    },
    /// A file on its author's server.
    Url {
        /// Its address.
        url: &'static str,
        /// If it is a `.tar.gz`: the name of the file in it that holds the model.
        member: Option<&'static str>,
        /// The first digits of the file's SHA-256 in hex, if it is known.
        sha256: Option<&'static str>,
    },
    /// Part of this crate: [`bundled`](candle_deeplab::bundled()).
    Bundled,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub { repo, revision, file } => write!(f, "{repo}@{revision}:{file}"),
            Self::Url { url, .. } => f.write_str(url),
            Self::Bundled => f.write_str("part of this program"),
        }
    }
}

/// The name of the model that is part of this crate. A file or folder with this name has to be called `./bundled`.
pub const BUNDLED: &str = "bundled";
