//! The layout of ADE20K's scene parsing challenge (`ADEChallengeData2016`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Encoding, IMAGES, Listing, Named, folders, labels_below, pair};
use crate::error::{Error, Result};

const SPLITS: [&str; 2] = ["training", "validation"];

/// The folder that has `annotations`: the given one, or where the archive puts it. The names of the splits tell it from
/// other sets with such a folder.
pub(in crate::data) fn root(dir: &Path) -> Option<PathBuf> {
    let roots = [dir.to_owned(), dir.join("ADEChallengeData2016")];
    let is_root = |root: &PathBuf| {
        root.join("annotations").is_dir() && SPLITS.iter().any(|split| root.join("images").join(split).is_dir())
    };
    roots.into_iter().find(is_root)
}

fn known_root(dir: &Path) -> Result<PathBuf> {
    let reason = "it is not laid out as ADE20K: the folders `images/training` and `annotations/training` are missing; \
                  name the folder that has them (`ADEChallengeData2016`)";
    root(dir).ok_or_else(|| Error::data(dir, reason))
}

pub(super) fn splits(dir: &Path) -> Result<BTreeSet<String>> {
    folders(&known_root(dir)?.join("images"))
}

pub(super) fn list(dir: &Path, split: &str, wants_labels: bool) -> Result<Listing> {
    let root = known_root(dir)?;
    let labels = root.join("annotations").join(split);
    let found = if wants_labels { Some(labels_below(&labels)?) } else { None };
    let (files, faults) = pair(Named::below(&root.join("images").join(split), &IMAGES)?, found, &labels);
    Ok(Listing { files, encoding: Encoding::FromOne, faults })
}
