//! The bytes of one entry in a checkpoint's data file, streamed while their checksum is computed.

use std::io::{BufRead, Read};

use super::file::PlainFile;
use super::tf_table::mask;
use crate::{Error, Result};

/// Where an entry's bytes lie, and their masked checksum.
#[derive(Debug)]
pub(crate) struct ShardRange {
    pub(crate) shard: i32,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) stored_crc: u32,
}

impl ShardRange {
    fn verify(&self, file: &PlainFile, tensor: &str, crc: u32) -> Result<()> {
        let (stored, computed) = (self.stored_crc, mask(crc));
        if stored == computed {
            return Ok(());
        }
        let path = file.path().to_owned();
        Err(Error::TensorChecksum { path, tensor: tensor.to_owned(), stored, computed })
    }
}

/// Calls `visit` with the bytes, piece by piece, and verifies their checksum at the end.
pub(crate) fn stream_bytes(
    file: &PlainFile,
    tensor: &str,
    range: &ShardRange,
    mut visit: impl FnMut(&[u8]),
) -> Result<()> {
    let mut crc = 0;
    let mut section = file.section(range.offset, range.size);
    loop {
        let piece = section.fill_buf().map_err(|e| file.failed(range.offset, range.size, e))?;
        if piece.is_empty() {
            return range.verify(file, tensor, crc);
        }
        crc = crc32c::crc32c_append(crc, piece);
        visit(piece);
        let n = piece.len();
        section.consume(n);
    }
}

/// What receives the strings of a tensor while they are streamed.
pub(crate) trait StringSink {
    fn length(&mut self, length: u64);
    fn bytes(&mut self, bytes: &[u8]);
}

/// Drops them, where they are only checked.
impl StringSink for () {
    fn length(&mut self, _: u64) {}
    fn bytes(&mut self, _: &[u8]) {}
}

/// Strings one after the other, and where each ends.
#[derive(Default)]
pub(crate) struct Strings {
    pub(crate) data: Vec<u8>,
    pub(crate) ends: Vec<usize>,
}

impl StringSink for Strings {
    fn length(&mut self, length: u64) {
        let start = self.ends.last().copied().unwrap_or(0);
        // A sum beyond the entry is refused after the last length.
        self.ends.push(start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }
}

/// Streams a tensor of strings: the lengths as varints, a checksum of the lengths, the bytes of all strings.
///
/// Both checksums are computed over the lengths as integers of four bytes (of eight where one needs them),
/// not over the varints; the entry's own goes on over the lengths' checksum and the bytes.
pub(crate) fn stream_strings(
    file: &PlainFile,
    tensor: &str,
    range: &ShardRange,
    count: usize,
    sink: &mut impl StringSink,
) -> Result<()> {
    let failed = |e| file.failed(range.offset, range.size, e);
    let bad = |what: &str| Error::BadTensor {
        path: file.path().to_owned(),
        tensor: tensor.to_owned(),
        what: format!("{what}; fetch the file again"),
    };
    let mut section = file.section(range.offset, range.size);
    let mut crc = 0;
    let mut left = range.size;
    let mut total = 0u64;
    for _ in 0..count {
        let (length, taken) = read_varint(&mut section).map_err(failed)?.ok_or_else(|| bad("nonsense lengths"))?;
        crc = match u32::try_from(length) {
            Ok(length) => crc32c::crc32c_append(crc, &length.to_le_bytes()),
            Err(_) => crc32c::crc32c_append(crc, &length.to_le_bytes()),
        };
        left = left.saturating_sub(taken);
        total = total.saturating_add(length);
        sink.length(length);
    }

    let mut stored = [0; 4];
    section.read_exact(&mut stored).map_err(|_| bad("its strings end early"))?;
    left = left.saturating_sub(4);
    let (lengths_crc, computed) = (u32::from_le_bytes(stored), mask(crc));
    if lengths_crc != computed {
        let path = file.path().to_owned();
        return Err(Error::TensorChecksum { path, tensor: tensor.to_owned(), stored: lengths_crc, computed });
    }
    if left != total {
        return Err(bad(&format!("its strings take {total} bytes, but {left} are there")));
    }
    crc = crc32c::crc32c_append(crc, &stored);
    loop {
        let piece = section.fill_buf().map_err(failed)?;
        if piece.is_empty() {
            return range.verify(file, tensor, crc);
        }
        crc = crc32c::crc32c_append(crc, piece);
        sink.bytes(piece);
        let n = piece.len();
        section.consume(n);
    }
}

/// A varint and its length in bytes; `None` when the bytes are no varint.
fn read_varint(reader: &mut impl BufRead) -> std::io::Result<Option<(u64, u64)>> {
    let mut bytes = Vec::with_capacity(10);
    while bytes.len() < 10 {
        let Some(&byte) = reader.fill_buf()?.first() else {
            return Ok(None);
        };
        reader.consume(1);
        bytes.push(byte);
        if byte < 0x80 {
            break;
        }
    }
    let taken = bytes.len() as u64;
    Ok(super::varint::take_varint(&mut bytes.as_slice()).map(|value| (value, taken)))
}
