//! What the values of label files mean.

use candle_deeplab::Labels;
use image::GrayImage;

use super::IGNORE;
use super::layout::Encoding;
use super::layout::cityscapes::{CITYSCAPES_LABEL_IDS, LAST_LABEL_ID};

/// The train id of each value of a label file; `None` where the value has no meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ids([Option<u8>; 256]);

/// A value without a meaning, and where it stands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) id: u8,
    pub(super) x: usize,
    pub(super) y: usize,
}

impl Ids {
    /// The classes' numbers. Ignored are the labels' own ignore value and 255, which is never a class.
    pub(super) fn new(labels: &Labels, encoding: Encoding) -> Self {
        let mut table = [None; 256];
        let classes = labels.names.len().min(usize::from(IGNORE));
        match encoding {
            Encoding::Classes => (0..classes).for_each(|class| table[class] = Some(class as u8)),
            Encoding::FromOne if labels.ignore != Some(0) => {
                table[0] = Some(IGNORE);
                (0..classes.min(254)).for_each(|class| table[class + 1] = Some(class as u8));
            }
            // As TensorFlow numbers ADE20K: class 0 is there, and is ignored.
            Encoding::FromOne => (0..classes).for_each(|class| table[class] = Some(class as u8)),
            Encoding::CityscapesIds => {
                table[..=usize::from(LAST_LABEL_ID)].fill(Some(IGNORE));
                for (train_id, label_id) in (0..classes as u8).zip(CITYSCAPES_LABEL_IDS) {
                    table[usize::from(label_id)] = Some(train_id);
                }
            }
        }
        table[usize::from(IGNORE)] = Some(IGNORE);
        let is_own_numbering =
            encoding == Encoding::Classes || encoding == Encoding::FromOne && labels.ignore == Some(0);
        if let Some(ignore) = labels.ignore.filter(|_| is_own_numbering) {
            table[usize::from(ignore)] = Some(IGNORE);
        }
        Self(table)
    }

    /// The train id of a value; `None` where it has no meaning.
    pub(super) fn get(&self, id: u8) -> Option<u8> {
        self.0[usize::from(id)]
    }

    /// Replaces a file's values by train ids.
    ///
    /// # Errors
    /// The first value without a meaning, row by row.
    pub(super) fn apply(&self, map: &mut GrayImage) -> Result<(), Unknown> {
        let mut seen = [false; 256];
        map.iter().for_each(|id| seen[usize::from(*id)] = true);
        if seen.iter().zip(&self.0).any(|(seen, known)| *seen && known.is_none()) {
            let width = map.width().max(1) as usize;
            let first = map.iter().enumerate().find(|(_, id)| self.get(**id).is_none());
            return first.map_or(Ok(()), |(at, id)| Err(Unknown { id: *id, x: at % width, y: at / width }));
        }
        let table = self.0.map(|id| id.unwrap_or(IGNORE));
        map.iter_mut().for_each(|id| *id = table[usize::from(*id)]);
        Ok(())
    }
}
