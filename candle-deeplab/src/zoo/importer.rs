//! How files of other programs get in. This crate knows its own format only; whoever knows others implements
//! [`Importer`], as `weights-convert` does.

use std::path::Path;

use serde::Serialize;

use super::registry::Model;

/// Somebody who makes model directories of foreign files.
pub trait Importer {
    /// Program and version, for the record.
    fn name(&self) -> String;

    /// Changes whenever a conversion would give another result: what was converted by another revision is converted
    /// again.
    fn revision(&self) -> u32;

    /// Converts a file into `config.json` and `model.safetensors`, and whatever else belongs to a model directory.
    ///
    /// # Errors
    /// Whatever is wrong with the file, as a sentence that names it.
    fn import(&self, import: &Import) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// A file that is to be converted.
#[derive(Debug, Clone, Copy)]
pub struct Import<'a> {
    /// The file.
    pub source: &'a Path,
    /// The folder of the `config.json` and perhaps `preprocessor_config.json` that its repo has beside it; what else is
    /// in there is none of it.
    pub beside: Option<&'a Path>,
    /// An empty folder for the model.
    pub out: &'a Path,
    /// What the file does not tell.
    pub hints: &'a Hints,
    /// The published model that it is, where that is known.
    pub model: Option<&'static Model>,
}

/// What a file does not tell and its publisher does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Hints {
    /// Input size over feature size that the network was trained for.
    pub output_stride: Option<usize>,
    /// Dilations of the ASPP's atrous branches at that output stride.
    pub atrous_rates: Option<&'static [usize]>,
    /// One of [`Labels::BUILTIN`](crate::Labels::BUILTIN).
    pub labels: Option<&'static str>,
}

impl Hints {
    /// None: the file or its family's habits tell everything.
    pub const NONE: Self = Self { output_stride: None, atrous_rates: None, labels: None };
}
