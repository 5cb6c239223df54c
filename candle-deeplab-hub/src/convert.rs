//! How models in other programs' formats get in: `weights-convert` makes model directories of them.

use std::path::Path;

use weights_convert::families::Card;
use weights_convert::{Checkpoint, Options, convert_checkpoint};

use crate::entry::{Entry, Hints};

/// A file that is to be converted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Foreign<'a> {
    /// The file.
    pub(crate) source: &'a Path,
    /// A folder with the `config.json` of the file's repo, and perhaps its `preprocessor_config.json`. Other files in there do
    /// not belong to the model.
    pub(crate) beside: Option<&'a Path>,
    /// What the file does not tell.
    pub(crate) hints: &'a Hints,
    /// The published model that it is, where that is known.
    pub(crate) entry: Option<&'static Entry>,
}

impl Foreign<'_> {
    /// Makes a model directory of an empty folder.
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

/// What the registry knows of a published model.
fn card(entry: &Entry) -> Card {
    Card {
        license: Some(entry.licence.to_lowercase()),
        datasets: vec![entry.dataset.to_owned()],
        miou: entry.evaluations.first().map(|evaluation| evaluation.miou),
    }
}
