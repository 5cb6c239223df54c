//! numpy's file format, version 1.0 (`numpy/lib/format.py`).

use std::io::{self, Write};

/// Writes the header of an array of two or more dimensions in C order; the raw data must follow. `descr` is numpy's
/// name of the data type.
pub(crate) fn write_header(to: &mut impl Write, descr: &str, shape: &[usize]) -> io::Result<()> {
    /// The bytes before the dictionary: magic, version and the dictionary's length.
    const PREFIX: usize = 10;
    let sides = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sides}), }}");
    // Data begin at a multiple of 64 bytes, after a line feed.
    while !(PREFIX + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    to.write_all(b"\x93NUMPY\x01\x00")?;
    // A header for so few dimensions is short.
    to.write_all(&(header.len() as u16).to_le_bytes())?;
    to.write_all(header.as_bytes())
}
