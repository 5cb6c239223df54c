//! PASCAL VOC 2012's layout (VOCdevkit), with the additional label maps of Hariharan et al. 2011 (`SegmentationClassAug`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_deeplab::file;

use super::{Encoding, Files, Listing};
use crate::error::{Error, Result};

const LISTS: &str = "ImageSets/Segmentation";
const OWN: &str = "SegmentationClass";
const AUGMENTED: &str = "SegmentationClassAug";

/// The largest list of names in bytes; `trainaug.txt` has 10,582 names of 12 bytes, and 100 with paths.
const MAX_LIST: u64 = 64 << 20;

/// The folder that has `JPEGImages`: the given one, or where the archive puts it.
pub(in crate::data) fn root(dir: &Path) -> Option<PathBuf> {
    let roots = [dir.to_owned(), dir.join("VOC2012"), dir.join("VOCdevkit/VOC2012")];
    roots.into_iter().find(|root| root.join("JPEGImages").is_dir())
}

fn known_root(dir: &Path) -> Result<PathBuf> {
    let reason = "it is not laid out as VOC 2012: the folders `JPEGImages`, `SegmentationClass` and \
                  `ImageSets/Segmentation` are missing; name the folder that has them";
    root(dir).ok_or_else(|| Error::data(dir, reason))
}

pub(super) fn splits(dir: &Path) -> Result<BTreeSet<String>> {
    let lists = known_root(dir)?.join(LISTS);
    let mut splits = BTreeSet::new();
    for entry in std::fs::read_dir(&lists).map_err(Error::io(&lists))? {
        let path = entry.map_err(Error::io(&lists))?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            splits.extend(path.file_stem().and_then(|stem| stem.to_str()).map(String::from));
        }
    }
    Ok(splits)
}

pub(super) fn list(dir: &Path, split: &str, wants_labels: bool) -> Result<Listing> {
    let root = known_root(dir)?;
    let list = root.join(LISTS).join(format!("{split}.txt"));
    let Some(text) = file::read_text(&list, MAX_LIST)? else {
        return Err(Error::data(list, format!("more than {MAX_LIST} bytes is too large for a list of names")));
    };
    let labels = root.join(labels_of(&root, split));
    if wants_labels && !labels.is_dir() {
        return Err(Error::data(labels, "this folder of label maps does not exist: unpack it beside `JPEGImages`"));
    }
    let (mut files, mut faults, mut seen) = (vec![], vec![], BTreeMap::new());
    for (line, number) in text.lines().zip(1..) {
        let Some(name) = name(line) else { continue };
        if let Some(first) = seen.insert(name, number) {
            faults.push(Error::data(&list, format!("line {number} names `{name}`, as line {first} does: remove one")));
            continue;
        }
        let (image, label) = (root.join("JPEGImages").join(format!("{name}.jpg")), labels.join(format!("{name}.png")));
        if !image.is_file() {
            let reason = format!("line {number} names `{name}`, but there is no `{}`", image.display());
            faults.push(Error::data(&list, reason));
        } else if wants_labels && !label.is_file() {
            let reason = format!("line {number} names `{name}`, but there is no label map `{}`", label.display());
            faults.push(Error::data(&list, reason));
        } else {
            files.push(Files { name: name.to_owned(), image, labels: wants_labels.then_some(label) });
        }
    }
    Ok(Listing { files, encoding: Encoding::Classes, faults })
}

/// The folder of a split's label maps. The augmented lists, whose names end in `aug`, need the augmented folder, which
/// has the label maps of the others, too.
fn labels_of(root: &Path, split: &str) -> &'static str {
    if split.ends_with("aug") || !root.join(OWN).is_dir() && root.join(AUGMENTED).is_dir() { AUGMENTED } else { OWN }
}

/// The name that a line stands for: `2007_000032`, or two paths as in `/JPEGImages/2007_000032.jpg
/// /SegmentationClassAug/2007_000032.png` (the list of Chen et al.'s first code). It never leads out of the folders.
fn name(line: &str) -> Option<&str> {
    let first = line.split_whitespace().next()?;
    let file = first.rsplit(['/', '\\']).next()?;
    Some(file.strip_suffix(".jpg").unwrap_or(file)).filter(|name| !name.is_empty())
}
