//! The class of each pixel.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::Size;
use crate::npy;

/// The class of each pixel, row by row. Neither an image nor class names are needed: a ground-truth mask is one, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct LabelMap {
    ids: Vec<u8>,
    size: Size,
}

/// A label map as deserialized, before its size is checked.
#[derive(Deserialize)]
struct Parts {
    ids: Vec<u8>,
    size: Size,
}

impl TryFrom<Parts> for LabelMap {
    type Error = Error;

    fn try_from(Parts { ids, size }: Parts) -> Result<Self> {
        Self::new(ids, size)
    }
}

impl LabelMap {
    /// Makes a label map from class ids, row by row.
    ///
    /// # Errors
    /// [`Error::Mask`] unless there is one id for each pixel.
    pub fn new(ids: Vec<u8>, size: Size) -> Result<Self> {
        let Size { height, width } = size;
        if height.checked_mul(width) != Some(ids.len()) {
            return Err(Error::Mask(format!("{} ids cannot label an image of {width}×{height} pixels", ids.len())));
        }
        Ok(Self { ids, size })
    }

    /// Height and width.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The class of each pixel, row by row.
    pub fn ids(&self) -> &[u8] {
        &self.ids
    }

    /// The ids, without a copy.
    pub fn into_ids(self) -> Vec<u8> {
        self.ids
    }

    /// The class of one pixel; `None` outside of the map.
    pub fn id_at(&self, x: u32, y: u32) -> Option<u8> {
        let (x, y) = (x as usize, y as usize);
        (x < self.size.width && y < self.size.height).then(|| self.ids[y * self.size.width + x])
    }

    /// Writes a numpy array: u8 `[height, width]`, one class id per pixel.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_npy(&self, mut to: impl Write) -> io::Result<()> {
        npy::write_header(&mut to, "|u1", &[self.size.height, self.size.width])?;
        to.write_all(&self.ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_map_survives_json_and_a_wrong_one_is_refused() {
        let map = LabelMap::new(vec![1, 2, 3, 4, 5, 6], Size::new(2, 3)).unwrap();
        let text = serde_json::to_string(&map).unwrap();
        assert_eq!(serde_json::from_str::<LabelMap>(&text).unwrap(), map);
        let wrong = text.replace("\"width\":3", "\"width\":4");
        assert!(serde_json::from_str::<LabelMap>(&wrong).unwrap_err().to_string().contains("cannot label"));
        assert!(LabelMap::new(vec![], Size::new(usize::MAX, 2)).is_err());
    }

    #[test]
    fn pixels_are_found_by_column_and_row() {
        let map = LabelMap::new(vec![1, 2, 3, 4, 5, 6], Size::new(2, 3)).unwrap();
        assert_eq!(
            (map.id_at(2, 0), map.id_at(0, 1), map.id_at(3, 0), map.id_at(0, 2)),
            (Some(3), Some(4), None, None)
        );
    }

    /// Byte for byte what `numpy.save` writes for `numpy.array([[0, 15, 255], [1, 2, 3]], numpy.uint8)` (numpy 2.4).
    #[test]
    fn a_label_map_is_what_numpy_saves() {
        let map = LabelMap::new(vec![0, 15, 255, 1, 2, 3], Size::new(2, 3)).unwrap();
        let mut bytes = vec![];
        map.write_npy(&mut bytes).unwrap();
        let dictionary = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }";
        let expected =
            [&b"\x93NUMPY\x01\x00\x76\x00"[..], dictionary, &[b' '; 58], b"\n", &[0, 15, 255, 1, 2, 3]].concat();
        assert_eq!(bytes, expected);
    }
}
