//! Which classes a data set has.

use std::path::Path;

use candle_deeplab::{Labels, suggest};

use super::{IGNORE, Kind, Source};
use crate::error::{Error, Result};

/// The files in a folder that may name its classes.
const FILES: [&str; 2] = ["labels.json", "labels.txt"];

/// The classes of a data set, and a sentence for the user where they were not said but found.
pub(super) fn of_source(
    source: &Source,
    model: Option<&Labels>,
    last_id: impl FnOnce() -> Result<u8>,
) -> Result<(Labels, Option<String>)> {
    let kind = source.layout();
    let (labels, note) = match (&source.labels, kind) {
        (Some(named), _) => (labels(named)?, None),
        (None, Kind::Folder) => found(source, model, last_id)?,
        (None, Kind::Voc) => (Labels::voc(), None),
        (None, Kind::Cityscapes) => (Labels::cityscapes(), None),
        // A model that was trained by TensorFlow has class 0, too.
        (None, Kind::Ade20k) if model == Some(&Labels::ade20k()) => (Labels::ade20k(), None),
        (None, Kind::Ade20k) => (Labels::ade20k_150(), None),
    };
    check(&labels, kind).map_err(|reason| Error::data(&source.dir, reason))?;
    Ok((labels, note))
}

fn check(labels: &Labels, kind: Kind) -> std::result::Result<(), String> {
    let classes = labels.names.len();
    labels.validate(classes)?;
    if classes > usize::from(IGNORE) {
        let most = IGNORE;
        return Err(format!(
            "{classes} classes are too many for training: at most {most}, since {IGNORE} marks what is ignored"
        ));
    }
    let expected = Labels::cityscapes().names.len();
    if kind == Kind::Cityscapes && classes != expected {
        let dataset = &labels.dataset;
        return Err(format!(
            "the labels `{dataset}` have {classes} classes, and Cityscapes {expected}: leave `labels` out"
        ));
    }
    Ok(())
}

/// Labels by a name of [`Labels::BUILTIN`], or by the path of a file that [`Labels::from_file`] reads.
///
/// # Errors
/// [`Error::Data`] where there is neither; the errors of [`Labels::from_file`].
pub fn labels(named: &str) -> Result<Labels> {
    if let Some(labels) = Labels::builtin(named) {
        return Ok(labels);
    }
    let path = Path::new(named);
    if !path.exists() {
        let near = suggest::question(&suggest::closest(named, Labels::BUILTIN.into_iter().map(|name| vec![name])));
        let known = Labels::BUILTIN.join(", ");
        return Err(Error::data(
            path,
            format!("there is no such file of labels, and none of {known} is called that{near}"),
        ));
    }
    Ok(Labels::from_file(path)?)
}

/// Labels of a folder: those of a file in it, the model's, those of a builtin whose name it has, or numbers. A builtin
/// with another number of classes than the model's goes before these.
fn found(
    source: &Source,
    model: Option<&Labels>,
    last_id: impl FnOnce() -> Result<u8>,
) -> Result<(Labels, Option<String>)> {
    let name = folder_name(&source.dir);
    let file = FILES.iter().map(|name| source.dir.join(name)).find(|path| path.is_file());
    if let Some(path) = file {
        let mut labels = Labels::from_file(&path)?;
        // A file's stem says nothing here; its folder's name does.
        let renamed = Labels { dataset: name, ..labels.clone() };
        if labels.dataset == "labels" && renamed.validate(renamed.names.len()).is_ok() {
            labels = renamed;
        }
        return Ok((labels, Some(format!("the classes are those of `{}`", path.display()))));
    }
    let builtin = Labels::builtin(&name.to_lowercase());
    // A model of so many classes may number or name them otherwise. Any other was made for another data set, and its
    // classes would only hide that.
    let is_other = |model: &Labels| builtin.as_ref().is_some_and(|builtin| builtin.names.len() != model.names.len());
    if let Some(labels) = model.filter(|model| !is_other(model)) {
        let note =
            format!("nothing in the folder names the classes: they are taken to be the model's (`{}`)", labels.dataset);
        return Ok((labels.clone(), builtin.is_none().then_some(note)));
    }
    if let Some(labels) = builtin {
        let note = format!(
            "the {} classes are those of `{}`, since the folder has that name; other labels are given by a file \
             `labels.txt` in it",
            labels.names.len(),
            labels.dataset
        );
        return Ok((labels, Some(note)));
    }
    let last = last_id()?;
    let labels = Labels { ignore: Some(IGNORE), ..Labels::numbered(usize::from(last) + 1) };
    let note = format!(
        "nothing names the classes: the ids 0 to {last} of the label maps become `class 0` to `class {last}`, and \
         {IGNORE} is ignored; a file `labels.txt` in the folder, with one name a line, names them"
    );
    Ok((labels, Some(note)))
}

/// The name of a folder; empty where it has none.
fn folder_name(dir: &Path) -> String {
    // `.` has a name, too.
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
