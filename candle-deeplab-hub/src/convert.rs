//! Converts models in other programs' formats to model directories, with `weights-convert`.

use std::path::Path;

use weights_convert::families::Card;
use weights_convert::{Checkpoint, Options, convert_checkpoint};

use crate::entry::{Entry, Hints};

/// A file to convert.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Foreign<'a> {
    /// The file.
    pub(crate) source: &'a Path,
    /// A folder with the `config.json` of the file's repo, and perhaps its `preprocessor_config.json`. Other files in
    /// it do not belong to the model.
    pub(crate) beside: Option<&'a Path>,
    /// What is known about the file but not stored in it.
    pub(crate) hints: &'a Hints,
    /// The published model, if it is one of the registry.
    pub(crate) entry: Option<&'static Entry>,
}

impl Foreign<'_> {
    /// Converts the file to a model directory in the empty folder `out`.
    pub(crate) fn convert(&self, out: &Path) -> weights_convert::Result<()> {
        let options = Options {
            output_stride: self.hints.output_stride,
            atrous_rates: self.hints.atrous_rates.map(<[usize]>::to_vec),
            labels: self.hints.labels.map(str::to_owned),
            card: self.entry.map(card).unwrap_or_default(),
            ..Options::default()
        };
        let checkpoint = match self.beside {
            Some(folder) => Checkpoint::open_beside(self.source, folder)?,
            None => Checkpoint::open(self.source)?,
        };
        convert_checkpoint(&checkpoint, out, &options, false).map(drop)
    }
}

/// The model card's data from the registry.
fn card(entry: &Entry) -> Card {
    Card {
        license: Some(entry.licence.to_lowercase()),
        datasets: vec![entry.dataset.to_owned()],
        miou: entry.evaluations.first().map(|evaluation| evaluation.miou),
    }
}
