//! numpy's file format, version 1.0 (`numpy/lib/format.py`).

use std::io::{self, Write};

use crate::segment::Segmentation;

/// Writes the header of an array of two or more dimensions in C order: `descr` is numpy's name of the data type. The data follow as they are.
pub(crate) fn write_header(to: &mut impl Write, descr: &str, shape: &[usize]) -> io::Result<()> {
    /// What comes before the dictionary: magic, version and the dictionary's length.
    const PREFIX: usize = 10;
    let sides = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sides}), }}");
    // Data begin at a multiple of 64 bytes, after a line feed.
    while !(PREFIX + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    to.write_all(b"\x93NUMPY\x01\x00")?;
    // Few sides make a short header.
    to.write_all(&(header.len() as u16).to_le_bytes())?;
    to.write_all(header.as_bytes())
}

impl Segmentation {
    /// Writes the label map as a numpy array: u8 `[height, width]`, one class id a pixel.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_npy(&self, mut to: impl Write) -> io::Result<()> {
        write_header(&mut to, "|u1", &[self.height() as usize, self.width() as usize])?;
        to.write_all(self.ids())
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::labels::Labels;

    /// Byte for byte what `numpy.save` writes of `numpy.array([[0, 15, 255], [1, 2, 3]], numpy.uint8)` (numpy 2.4).
    #[test]
    fn a_label_map_is_what_numpy_saves() {
        let image = RgbImage::new(3, 2);
        let segmentation = Segmentation::new(vec![0, 15, 255, 1, 2, 3], Labels::voc(), image).unwrap();
        let mut bytes = vec![];
        segmentation.write_npy(&mut bytes).unwrap();
        let dictionary = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }";
        let expected =
            [&b"\x93NUMPY\x01\x00\x76\x00"[..], dictionary, &[b' '; 58], b"\n", &[0, 15, 255, 1, 2, 3]].concat();
        assert_eq!(bytes, expected);
    }
}
