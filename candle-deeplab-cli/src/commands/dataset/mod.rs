//! `candle-deeplab dataset`: what is in a data set, what a network sees of it, and label files in other forms.

mod browse;
mod check;
mod convert;

use std::path::Path;

use anyhow::Result;
use candle_deeplab_train::data::Source;

use crate::args::{DatasetArgs, DatasetCommand, LayoutArgs};
use crate::exit::Exit;

pub(crate) fn run(args: DatasetArgs) -> Result<Exit> {
    match args.command {
        DatasetCommand::Check(args) => check::run(args),
        DatasetCommand::Browse(args) => browse::run(args),
        DatasetCommand::Convert(args) => convert::run(args),
    }
}

/// The data set in a folder.
fn source(dir: &Path, layout: &LayoutArgs) -> Source {
    Source { dir: dir.to_owned(), kind: layout.kind.map(Into::into), labels: layout.labels.clone() }
}
