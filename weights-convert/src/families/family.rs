//! A family: a code base whose files are known by their names.

use candle_deeplab::config::Backbone;

use super::conventions::{Conventions, Input};
use super::layers::Layers;
use super::names::{Naming, Rule};
use crate::error::Result;
use crate::read::Checkpoint;

/// A code base whose files we know.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) naming: Naming,
    /// Whether a file is of this family; an error where it is, but cannot be used.
    pub(super) find: fn(&Checkpoint) -> Result<Option<Match>>,
    pub(super) rules: &'static [&'static [Rule]],
    /// What a tensor is that its files may hold and the network has no use for, such as an ImageNet classifier.
    pub(super) spare: fn(&str) -> Option<&'static str>,
    pub(super) conventions: Conventions,
    /// The backbone and what goes with it.
    pub(super) infer: fn(&Layers) -> Result<Inferred>,
}

/// A file's family, found.
pub(super) struct Match {
    /// The backbone's own scope.
    pub(super) backbone: &'static str,
    /// The rule that fired.
    pub(super) because: String,
}

/// What a family makes of a file's backbone.
pub(super) struct Inferred {
    pub(super) backbone: Backbone,
    /// The tap for the decoder.
    pub(super) low_level: &'static str,
    pub(super) input: Input,
}
