//! How files of other programs get in. This crate knows its own format only; whoever knows others implements
//! [`Importer`], as `weights-convert` does.

use std::path::Path;

use serde::Serialize;

/// Somebody who makes model directories of foreign files.
pub trait Importer {
    /// Program and version, for the record.
    fn name(&self) -> String;

    /// Changes whenever a conversion would give another result: what was converted by another revision is converted
    /// again.
    fn revision(&self) -> u32;

    /// Converts the file at `source` into `config.json` and `model.safetensors` in the empty folder `out`.
    ///
    /// # Errors
    /// Whatever is wrong with the file, as a sentence that names it.
    fn import(&self, source: &Path, hints: &Hints, out: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
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
