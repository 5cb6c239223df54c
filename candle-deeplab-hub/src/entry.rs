//! What the registry says of a published model.

use serde::Serialize;

/// A published model: a row of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Entry {
    /// What it is called here.
    pub id: &'static str,
    /// Other names for it, such as its publisher's.
    pub aliases: &'static [&'static str],
    /// What it is for.
    pub kind: Kind,
    /// A line about it.
    pub description: &'static str,
    /// Its feature extractor, e.g. `xception65`.
    pub backbone: &'static str,
    /// What it was trained for: `voc`, `cityscapes`, `ade20k` or, for a backbone, `imagenet`.
    pub dataset: &'static str,
    /// Number of classes, background included.
    pub classes: usize,
    /// Input size over feature size as its weights are published; 32 for a backbone.
    pub output_stride: usize,
    /// Height and width of the input that [`macs`](Self::macs) is about.
    pub input: (usize, usize),
    /// Number of weights, batch norm's statistics included; `None` where only the file tells.
    pub params: Option<u64>,
    /// Multiply-adds of the convolutions for one input; `None` where only the file tells.
    pub macs: Option<u64>,
    /// Published results; none for a backbone.
    pub evaluations: &'static [Evaluation],
    /// The licence of the repository that publishes the weights, as that says.
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
    /// The scales that each image was looked at.
    pub scales: &'static [f64],
    /// Whether mirror images were looked at too.
    pub flip: bool,
    /// Multiply-adds of all looks as published, in 1e9.
    pub gmacs: Option<f64>,
}

/// Where a model's weights are, and what to know to read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Where.
    #[serde(flatten)]
    pub location: Location,
    /// What the file does not tell.
    pub hints: Hints,
}

/// What a file does not tell and its publisher does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Hints {
    /// Input size over feature size that the network was trained for.
    pub output_stride: Option<usize>,
    /// Dilations of the ASPP's atrous branches at that output stride.
    pub atrous_rates: Option<&'static [usize]>,
    /// One of [`Labels::BUILTIN`](candle_deeplab::Labels::BUILTIN).
    pub labels: Option<&'static str>,
}

impl Hints {
    /// None: the file or its family's habits tell everything.
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
    /// The author's own file.
    Url {
        /// Its address.
        url: &'static str,
        /// Where it is a `.tar.gz`: the name of the file in it that is wanted.
        member: Option<&'static str>,
        /// The beginning of the file's SHA-256 in hex, where it is known.
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

/// The name of the model that is part of this crate. A file or a folder of that name is `./bundled`.
pub const BUNDLED: &str = "bundled";
