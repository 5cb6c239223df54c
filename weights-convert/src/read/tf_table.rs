//! The format of a checkpoint's index: a LevelDB table, as `tensorflow/core/lib/io/table` writes it.
//!
//! A file is data blocks, a meta index block, an index block whose values are the places of the data blocks,
//! and a footer with the places of those two. A block is entries, their restart points, a byte that tells
//! the compression, and a checksum. The checksum of every block is verified before its content is looked at.

use std::path::Path;

use bytes::Bytes;

use super::varint::{take, take_len};
use crate::format::Format;
use crate::{Error, Result};

/// The last eight bytes of a table, little endian.
pub(crate) const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Two block handles, padded, and the magic.
const FOOTER: usize = 48;
/// Compression type and checksum.
const TRAILER: usize = 5;
/// Far more than any model has variables.
const MAX_ENTRIES: usize = 1 << 16;
/// A key may repeat most of its predecessor at no cost, so that a small file could claim endless keys.
const MAX_KEY_BYTES: usize = 16 << 20;

/// The checksums of TensorFlow's files: rotated and shifted, so that the checksum of data that itself
/// contains checksums stays sound.
pub(crate) fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Whether a file that ends in `tail` is a table.
pub(crate) fn is_table(tail: &[u8]) -> bool {
    tail.last_chunk().is_some_and(|magic| u64::from_le_bytes(*magic) == MAGIC)
}

/// All entries of a table, in the order of their keys.
pub(crate) fn entries(path: &Path, file: &Bytes) -> Result<Vec<(Vec<u8>, Bytes)>> {
    let table = Table { path, file };
    let (mut footer, blocks_end) = table.footer()?;
    let meta_index = table.handle(&mut footer, "footer")?;
    let index = table.handle(&mut footer, "footer")?;
    // TensorFlow does not use this block, but where it is damaged, others may be.
    table.block(meta_index, blocks_end)?;

    let mut entries: Vec<(Vec<u8>, Bytes)> = Vec::new();
    let (mut key_bytes, mut last_end) = (0usize, 0usize);
    table.for_each(&table.block(index, blocks_end)?, |_, place| {
        let handle = table.handle(&mut &place[..], "index block")?;
        // Blocks are written one after the other. One that is named again would be checked again and again.
        if handle.offset < last_end {
            return Err(table.malformed(format!("its index names the bytes at offset {} in two blocks", handle.offset)));
        }
        last_end = handle.offset.saturating_add(handle.size).saturating_add(TRAILER);
        table.for_each(&table.block(handle, blocks_end)?, |key, value| {
            if entries.last().is_some_and(|(last, _)| last.as_slice() >= key) {
                return Err(table.malformed("its keys are not in order".into()));
            }
            key_bytes = key_bytes.saturating_add(key.len());
            if entries.len() >= MAX_ENTRIES || key_bytes > MAX_KEY_BYTES {
                return Err(table.malformed(format!("it lists more than {MAX_ENTRIES} entries or too long names")));
            }
            entries.push((key.to_vec(), value));
            Ok(())
        })
    })?;
    Ok(entries)
}

/// Where a block lies.
#[derive(Clone, Copy)]
struct Handle {
    offset: usize,
    size: usize,
}

struct Table<'a> {
    path: &'a Path,
    file: &'a Bytes,
}

impl<'a> Table<'a> {
    fn malformed(&self, what: String) -> Error {
        Error::Malformed { path: self.path.to_owned(), format: Format::TfCheckpoint, what }
    }

    /// The footer's handles, and where it begins.
    fn footer(&self) -> Result<(&'a [u8], usize)> {
        match self.file.len().checked_sub(FOOTER).and_then(|at| Some((self.file.get(at..)?, at))) {
            Some((footer, at)) if is_table(footer) => Ok((footer, at)),
            _ => Err(self.malformed("its index does not end as a TensorFlow index does".into())),
        }
    }

    fn handle(&self, bytes: &mut &[u8], place: &str) -> Result<Handle> {
        take_len(bytes)
            .zip(take_len(bytes))
            .map(|(offset, size)| Handle { offset, size })
            .ok_or_else(|| self.malformed(format!("no block handle in the {place} of its index")))
    }

    /// The content of a block, its checksum verified.
    fn block(&self, Handle { offset, size }: Handle, blocks_end: usize) -> Result<Bytes> {
        let outside = || self.malformed(format!("its index names a block of {size} bytes at offset {offset}"));
        let end = offset.checked_add(size).ok_or_else(outside)?;
        let trailer = end.checked_add(TRAILER).filter(|&end| end <= blocks_end).ok_or_else(outside)?;
        let checked = self.file.get(offset..end + 1).ok_or_else(outside)?;
        let stored = self.file.get(end + 1..trailer).and_then(|b| b.try_into().ok()).ok_or_else(outside)?;

        let (stored, computed) = (u32::from_le_bytes(stored), mask(crc32c::crc32c(checked)));
        if stored != computed {
            let path = self.path.to_owned();
            return Err(Error::BlockChecksum { path, offset: offset as u64, stored, computed });
        }
        match checked.last() {
            Some(0) => Ok(self.file.slice(offset..end)),
            Some(1) => Err(Error::Unsupported {
                path: self.path.to_owned(),
                what: "the index is compressed with snappy, which TensorFlow itself never does; \
                       load and save the checkpoint with TensorFlow"
                    .into(),
            }),
            other => Err(self.malformed(format!("a block of its index has the compression type {other:?}"))),
        }
    }

    /// Calls `visit` with each key and value of a block.
    fn for_each(&self, block: &Bytes, mut visit: impl FnMut(&[u8], Bytes) -> Result<()>) -> Result<()> {
        let malformed = |what: &str| self.malformed(format!("a block of its index has {what}"));
        let (rest, restarts) = block.split_last_chunk().ok_or_else(|| malformed("no restart points"))?;
        let entries = usize::try_from(u32::from_le_bytes(*restarts))
            .ok()
            .and_then(|n| rest.len().checked_sub(n.checked_mul(4)?))
            .and_then(|n| rest.get(..n))
            .ok_or_else(|| malformed("more restart points than bytes"))?;

        let mut key = Vec::new();
        let mut left = entries;
        while !left.is_empty() {
            let lengths = (take_len(&mut left), take_len(&mut left), take_len(&mut left));
            let (Some(shared), Some(own), Some(value)) = lengths else {
                return Err(malformed("an entry without lengths"));
            };
            if shared > key.len() {
                return Err(malformed("a key that shares more than its predecessor has"));
            }
            key.truncate(shared);
            key.extend_from_slice(take(&mut left, own).ok_or_else(|| malformed("a key longer than the block"))?);
            let start = entries.len() - left.len();
            take(&mut left, value).ok_or_else(|| malformed("a value longer than the block"))?;
            visit(&key, block.slice(start..start + value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One block of the given entries: (bytes shared with the key before, the rest of the key, value).
    fn block(entries: &[(u8, &str, &[u8])]) -> Vec<u8> {
        let mut block = Vec::new();
        for (shared, key, value) in entries {
            block.extend([*shared, u8::try_from(key.len()).unwrap(), u8::try_from(value.len()).unwrap()]);
            block.extend(key.bytes().chain(value.iter().copied()));
        }
        block.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        block
    }

    fn push(file: &mut Vec<u8>, mut block: Vec<u8>) -> [u8; 2] {
        let handle = [u8::try_from(file.len()).unwrap(), u8::try_from(block.len()).unwrap()];
        block.push(0);
        let crc = mask(crc32c::crc32c(&block));
        file.extend(block);
        file.extend(crc.to_le_bytes());
        handle
    }

    fn table(entries: &[(u8, &str, &[u8])]) -> Vec<u8> {
        let mut file = Vec::new();
        let data = push(&mut file, block(entries));
        let meta = push(&mut file, block(&[]));
        let index = push(&mut file, block(&[(0, "z", &data)]));
        let mut footer = [meta, index].concat();
        footer.resize(40, 0);
        file.extend(footer);
        file.extend(MAGIC.to_le_bytes());
        file
    }

    fn read(file: Vec<u8>) -> Result<Vec<(Vec<u8>, Bytes)>> {
        entries(Path::new("model.ckpt.index"), &file.into())
    }

    #[test]
    fn keys_are_put_together_from_their_prefixes() {
        let entries = read(table(&[(0, "conv/biases", b"1"), (5, "weights", b"23")])).unwrap();
        let expected = [(b"conv/biases".to_vec(), "1".into()), (b"conv/weights".to_vec(), "23".into())];
        assert_eq!(entries, expected);
    }

    #[test]
    fn a_prefix_longer_than_the_key_before_is_refused() {
        let err = read(table(&[(0, "a", b""), (2, "b", b"")])).unwrap_err().to_string();
        assert!(err.contains("shares more than its predecessor has"), "{err}");
    }

    #[test]
    fn a_key_that_comes_twice_is_refused() {
        let err = read(table(&[(0, "a", b""), (0, "a", b"")])).unwrap_err().to_string();
        assert!(err.contains("not in order"), "{err}");
    }

    #[test]
    fn blocks_that_are_named_twice_or_overlap_are_refused() {
        let mut file = Vec::new();
        let data = push(&mut file, block(&[]));
        let meta = push(&mut file, block(&[]));
        let index = push(&mut file, block(&[(0, "a", &data), (0, "b", &data)]));
        let mut footer = [meta, index].concat();
        footer.resize(40, 0);
        file.extend(footer);
        file.extend(MAGIC.to_le_bytes());
        let err = read(file).unwrap_err().to_string();
        assert!(err.contains("the bytes at offset 0 in two blocks"), "{err}");
    }

    #[test]
    fn more_restart_points_than_bytes_are_refused() {
        let mut file = Vec::new();
        let data = push(&mut file, vec![0xff; 4]);
        let index = push(&mut file, block(&[(0, "z", &data)]));
        let mut footer = [data, index].concat();
        footer.resize(40, 0);
        file.extend(footer);
        file.extend(MAGIC.to_le_bytes());
        let err = read(file).unwrap_err().to_string();
        assert!(err.contains("more restart points than bytes"), "{err}");
    }

    #[test]
    fn a_compressed_block_is_told_apart_from_a_damaged_one() {
        let mut file = table(&[(0, "a", b"")]);
        let kind = 3 + 1 + 8; // lengths, key, restart points
        file[kind] = 1;
        assert!(matches!(read(file.clone()), Err(Error::BlockChecksum { offset: 0, .. })));
        let crc = mask(crc32c::crc32c(&file[..=kind])).to_le_bytes();
        file[kind + 1..kind + 5].copy_from_slice(&crc);
        assert!(read(file).unwrap_err().to_string().contains("snappy"));
    }

    #[test]
    fn a_truncated_footer_or_a_wrong_magic_is_refused() {
        let good = table(&[(0, "a", b"")]);
        for n in 0..good.len() {
            assert!(read(good[..n].to_vec()).is_err(), "{n} bytes");
        }
        let mut bad = good;
        *bad.last_mut().unwrap() ^= 1;
        assert!(read(bad).unwrap_err().to_string().contains("does not end as"));
    }

    #[test]
    fn the_mask_is_tensorflows() {
        // crc32c::Mask(0): the checksum that stands with an empty tensor.
        assert_eq!(mask(0), 0xa282_ead8);
    }
}
