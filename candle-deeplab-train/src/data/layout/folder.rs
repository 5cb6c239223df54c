//! Folders of images beside folders of label maps.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Encoding, IMAGES, Listing, Named, folders, labels_below, pair};
use crate::error::{Error, Result};

/// `images/SPLIT`, or `SPLIT/images`.
pub(super) fn splits(dir: &Path) -> Result<BTreeSet<String>> {
    let mut splits = folders(&dir.join("images"))?;
    splits.extend(folders(dir)?.into_iter().filter(|name| dir.join(name).join("images").is_dir()));
    if splits.is_empty() {
        let reason = "it has no split: put images into `images/SPLIT/NAME.jpg` and their label maps into \
                      `labels/SPLIT/NAME.png` (SPLIT is `train`, `val`, …), or into `SPLIT/images` and `SPLIT/labels`";
        return Err(Error::data(dir, reason));
    }
    Ok(splits)
}

pub(super) fn list(dir: &Path, split: &str, wants_labels: bool) -> Result<Listing> {
    let outer = dir.join("images").join(split);
    let (images, labels) = match outer.is_dir() {
        true => (outer, dir.join("labels").join(split)),
        false => (dir.join(split).join("images"), dir.join(split).join("labels")),
    };
    let found = if wants_labels { Some(labels_below(&labels)?) } else { None };
    let (files, faults) = pair(Named::below(&images, &IMAGES)?, found, &labels);
    Ok(Listing { files, encoding: Encoding::Classes, faults })
}
