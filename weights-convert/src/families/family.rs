//! A family: a code base whose files are known by their names.

use candle_deeplab::config::Backbone;

use super::conventions::{Conventions, Input};
use super::layers::Layers;
use super::names::{Naming, Rule};
use crate::error::Result;
use crate::read::Checkpoint;

/// A code base whose files are recognised.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) naming: Naming,
    /// Whether a file is of this family; an error where it is, but cannot be used.
    pub(super) find: fn(&Checkpoint) -> Result<Option<Match>>,
    pub(super) rules: &'static [&'static [Rule]],
    /// The kind of a tensor that its files may hold although the network has no use for it, such as an ImageNet classifier.
    pub(super) spare: fn(&str) -> Option<&'static str>,
    pub(super) conventions: Conventions,
    /// Infers the backbone from the layers in a file.
    pub(super) infer: fn(&Layers) -> Result<Inferred>,
}

/// How a file was recognised as one of a family.
pub(super) struct Match {
    /// The backbone's scope in the file.
    pub(super) backbone: &'static str,
    /// The rule that fired.
    pub(super) because: String,
}

/// The backbone that a family's code builds from the layers in a file, and what goes with it.
pub(super) struct Inferred {
    pub(super) backbone: Backbone,
    /// The tap for the decoder.
    pub(super) low_level: &'static str,
    pub(super) input: Input,
}
