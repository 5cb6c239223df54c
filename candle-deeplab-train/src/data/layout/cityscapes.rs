//! Cityscapes' layout and its two numberings, from `cityscapesscripts/helpers/labels.py`.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Encoding, LABELS, Listing, Named, folders, pair};
use crate::error::{Error, Result};

/// Cityscapes' label id of each of its 19 classes, by train id; its server wants predictions to have them.
pub const CITYSCAPES_LABEL_IDS: [u8; 19] = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33];

/// The last label id.
pub(in crate::data) const LAST_LABEL_ID: u8 = 33;

const IDS: &str = "_gtFine_labelIds";
const TRAIN_IDS: &str = "_gtFine_labelTrainIds";

pub(super) fn splits(dir: &Path) -> Result<BTreeSet<String>> {
    let splits = folders(&dir.join("leftImg8bit"))?;
    if splits.is_empty() {
        let reason = "it is not laid out as Cityscapes: unpack `leftImg8bit_trainvaltest.zip` and \
                      `gtFine_trainvaltest.zip` into it";
        return Err(Error::data(dir, reason));
    }
    Ok(splits)
}

/// The published label ids are preferred to train ids, which are made of them.
pub(super) fn list(dir: &Path, split: &str, wants_labels: bool) -> Result<Listing> {
    let (images, labels) = (dir.join("leftImg8bit").join(split), dir.join("gtFine").join(split));
    let images = Named::below(&images, &LABELS)?.with_suffix("_leftImg8bit");
    if !wants_labels {
        let (files, faults) = pair(images, None, &labels);
        return Ok(Listing { files, encoding: Encoding::CityscapesIds, faults });
    }
    if !labels.is_dir() {
        return Err(Error::data(
            labels,
            "this folder does not exist: unpack `gtFine_trainvaltest.zip` beside `leftImg8bit`",
        ));
    }
    let found = |suffix| Named::below(&labels, &LABELS).map(|named| named.with_suffix(suffix));
    let (ids, train_ids) = (found(IDS)?, found(TRAIN_IDS)?);
    let (found, encoding) = match ids.paths.len() < train_ids.paths.len() {
        true => (train_ids, Encoding::Classes),
        false => (ids, Encoding::CityscapesIds),
    };
    let (files, faults) = pair(images, Some(found), &labels);
    Ok(Listing { files, encoding, faults })
}
