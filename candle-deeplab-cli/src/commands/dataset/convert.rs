//! `candle-deeplab dataset convert`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_deeplab::Labels;
use candle_deeplab::labels::read_palette;
use candle_deeplab_train::data::Conversion;
use rayon::prelude::*;
use serde::Serialize;
use walkdir::WalkDir;

use crate::args::{DatasetConvertArgs, Form};
use crate::exit::{Exit, causes, say};
use crate::interrupt;
use crate::output::{Output, Report};
use crate::progress::Progress;
use crate::target::Target;

/// How Cityscapes' files are called.
const LABEL_IDS: &str = "_labelIds.png";
const TRAIN_IDS: &str = "_labelTrainIds.png";

pub(super) fn run(args: DatasetConvertArgs) -> Result<Exit> {
    let output = Output::of(args.report);
    let conversion = conversion(&args)?;
    let jobs = jobs(&args)?;
    if !args.force
        && let Some(there) = jobs.keys().find(|path| path.symlink_metadata().is_ok())
    {
        bail!("`{}` exists: replace it with `--force`, or choose another folder with `-o`", there.display());
    }
    interrupt::install()?;
    let progress = Progress::new(Some(jobs.len() as u64), "files", output != Output::Text)?;
    let convert = |(to, from): (&PathBuf, &PathBuf)| {
        let converted = one(&conversion, from, to, args.force);
        progress.step();
        converted.map_err(|error| progress.around(|| say(&format!("error: {}", causes(&error).join(": "))))).is_ok()
    };
    let done = jobs.par_iter().map(convert).filter(|is_done| *is_done).count();
    drop(progress);
    let report = Converted { folder: args.output, files: done, failed: jobs.len() - done };
    output.print(&report).context("cannot print the result")?;
    Ok(if done == jobs.len() { Exit::Success } else { Exit::SomeFailed })
}

fn one(conversion: &Conversion, from: &Path, to: &Path, replace: bool) -> Result<()> {
    let png = conversion.convert(from)?;
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    }
    let _whole = interrupt::writing();
    Target::new(to, replace, "-o")?.write(&png)
}

fn conversion(args: &DatasetConvertArgs) -> Result<Conversion> {
    Ok(match args.to {
        Form::Ids => Conversion::ColorsToIds(labels(args)?),
        Form::Colors => Conversion::IdsToColors(labels(args)?),
        Form::TrainIds => Conversion::LabelIdsToTrainIds,
        Form::LabelIds => Conversion::TrainIdsToLabelIds,
    })
}

fn labels(args: &DatasetConvertArgs) -> Result<Labels> {
    let labels = candle_deeplab_train::data::labels(args.labels.as_deref().unwrap_or_default())?;
    let Some(path) = &args.palette else { return Ok(labels) };
    let colors = read_palette(path).context("cannot read the palette")?;
    labels.with_palette(colors).map_err(|reason| anyhow!("{}: {reason}", path.display()))
}

/// The files to write, each with the one that it is made of.
fn jobs(args: &DatasetConvertArgs) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let mut jobs = BTreeMap::new();
    for input in &args.inputs {
        let shown = input.display();
        let found = std::fs::metadata(input).with_context(|| format!("there is no input `{shown}`"))?;
        let files = if found.is_dir() { below(input, args.to)? } else { vec![input.clone()] };
        ensure!(!files.is_empty(), "there are no label files for this conversion in `{shown}`");
        for from in files {
            // A file is called by its name alone, those of a folder by their paths in it.
            let name = from.strip_prefix(input).ok().filter(|name| !name.as_os_str().is_empty());
            let name = name.or(from.file_name().map(Path::new)).unwrap_or(&from);
            let to = args.output.join(renamed(name, args.to));
            if let Some(other) = jobs.insert(to.clone(), from.clone()).filter(|other| *other != from) {
                let (other, from, to) = (other.display(), from.display(), to.display());
                bail!("`{other}` and `{from}` would both become `{to}`: convert them into different folders");
            }
        }
    }
    Ok(jobs)
}

/// The PNG files below a folder that may be converted, hidden ones left out.
fn below(folder: &Path, form: Form) -> Result<Vec<PathBuf>> {
    let is_hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    let entries = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
    let mut files = vec![];
    for entry in entries.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name())) {
        let entry = entry.with_context(|| format!("cannot list `{}`", folder.display()))?;
        let name = entry.file_name().to_string_lossy();
        let is_png = name.to_ascii_lowercase().ends_with(".png");
        // Cityscapes has colours, instances and ids beside one another.
        let is_meant = match form {
            Form::TrainIds => name.ends_with(LABEL_IDS),
            Form::LabelIds => !name.ends_with(LABEL_IDS),
            Form::Ids | Form::Colors => true,
        };
        if entry.file_type().is_file() && is_png && is_meant {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// The name of a result.
fn renamed(name: &Path, form: Form) -> PathBuf {
    let renamed = |from: &str, to: &str| {
        let text = name.to_str()?;
        Some(PathBuf::from(format!("{}{to}", text.strip_suffix(from)?)))
    };
    let cityscapes = match form {
        Form::TrainIds => renamed(LABEL_IDS, TRAIN_IDS),
        Form::LabelIds => renamed(TRAIN_IDS, LABEL_IDS),
        Form::Ids | Form::Colors => None,
    };
    cityscapes.unwrap_or_else(|| name.with_extension("png"))
}

#[derive(Debug, Serialize)]
struct Converted {
    folder: PathBuf,
    files: usize,
    failed: usize,
}

impl Report for Converted {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        writeln!(to, "wrote {} files into {}{failed}", self.files, self.folder.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cityscapes_files_are_renamed_and_others_become_png() {
        let name = |name: &str, form| renamed(Path::new(name), form).to_str().unwrap().to_owned();
        assert_eq!(name("a/x_gtFine_labelIds.png", Form::TrainIds), "a/x_gtFine_labelTrainIds.png");
        assert_eq!(name("a/x_gtFine_labelTrainIds.png", Form::LabelIds), "a/x_gtFine_labelIds.png");
        assert_eq!(name("x.bmp", Form::Ids), "x.png");
    }
}
