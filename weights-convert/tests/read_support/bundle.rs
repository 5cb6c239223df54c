//! A writer of small V2 checkpoints.

use std::path::{Path, PathBuf};

use super::proto::{bytes, fixed32, int, shape, varint};

pub(crate) fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// An entry of the index; every field can be made wrong.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) dtype: i64,
    pub(crate) shape: Vec<i64>,
    pub(crate) shard: i64,
    pub(crate) offset: i64,
    pub(crate) size: i64,
    pub(crate) crc: u32,
    /// (start, length) of each dimension of each slice.
    pub(crate) slices: Vec<Vec<(i64, i64)>>,
}

impl Entry {
    /// float32 at the beginning of `data`.
    pub(crate) fn f32(shape: &[i64], data: &[u8]) -> Self {
        let size: i64 = shape.iter().product::<i64>() * 4;
        let crc = mask(crc32c::crc32c(&data[..size as usize]));
        Self { dtype: 1, shape: shape.to_vec(), shard: 0, offset: 0, size, crc, slices: vec![] }
    }

    /// The owner of slices.
    pub(crate) fn sliced(shape: &[i64], slices: &[&[(i64, i64)]]) -> Self {
        let slices = slices.iter().map(|s| s.to_vec()).collect();
        Self { dtype: 1, shape: shape.to_vec(), shard: 0, offset: 0, size: 0, crc: 0, slices }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = [int(1, self.dtype), bytes(2, shape(&self.shape)), int(3, self.shard)].concat();
        out.extend([int(4, self.offset), int(5, self.size), fixed32(6, self.crc)].concat());
        for slice in &self.slices {
            let extents: Vec<u8> =
                slice.iter().flat_map(|&(start, length)| bytes(1, [int(1, start), int(2, length)].concat())).collect();
            out.extend(bytes(7, extents));
        }
        out
    }
}

/// The key of a slice whose numbers are all below 64.
pub(crate) fn slice_key(name: &str, slice: &[(i64, i64)]) -> Vec<u8> {
    let mut key = [&[0], name.as_bytes(), &[0, 1, 1, slice.len() as u8]].concat();
    key.extend(slice.iter().flat_map(|&(start, length)| [0x80 | start as u8, 0x80 | length as u8]));
    key
}

/// A checkpoint in the making.
pub(crate) struct Bundle {
    pub(crate) entries: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) shards: Vec<Vec<u8>>,
}

impl Bundle {
    pub(crate) fn new(shards: &[&[u8]]) -> Self {
        let header = [int(1, shards.len() as i64), bytes(3, int(1, 1))].concat();
        Self { entries: vec![(vec![], header)], shards: shards.iter().map(|s| s.to_vec()).collect() }
    }

    pub(crate) fn with(mut self, key: impl AsRef<[u8]>, entry: &Entry) -> Self {
        self.entries.push((key.as_ref().to_vec(), entry.encode()));
        self
    }

    /// The index as a table of one data block.
    pub(crate) fn index(&self) -> Vec<u8> {
        let mut entries = self.entries.clone();
        entries.sort();
        index_of_block(&block(&entries))
    }

    /// Writes the files and gives the prefix.
    pub(crate) fn write(&self, dir: &Path) -> PathBuf {
        let prefix = dir.join("model.ckpt");
        std::fs::write(dir.join("model.ckpt.index"), self.index()).unwrap();
        for (i, shard) in self.shards.iter().enumerate() {
            let name = format!("model.ckpt.data-{i:05}-of-{:05}", self.shards.len());
            std::fs::write(dir.join(name), shard).unwrap();
        }
        prefix
    }
}

/// A table of one data block, whatever is in that.
pub(crate) fn index_of_block(data: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let data = push(&mut file, data);
    let meta = push(&mut file, &block(&[]));
    let index = push(&mut file, &block(&[(b"~".to_vec(), data)]));
    let mut footer = [meta, index].concat();
    footer.resize(40, 0);
    file.extend(footer);
    file.extend(0xdb47_7524_8b80_fb57u64.to_le_bytes());
    file
}

/// Entries, and one restart point.
fn block(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (key, value) in entries {
        block.extend([vec![0], varint(key.len() as u64), varint(value.len() as u64)].concat());
        block.extend(key.iter().chain(value));
    }
    block.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    block
}

/// Appends a block with its checksum, and gives its handle.
fn push(file: &mut Vec<u8>, block: &[u8]) -> Vec<u8> {
    let start = file.len();
    file.extend(block);
    let handle = [varint(start as u64), varint(block.len() as u64)].concat();
    file.push(0);
    let crc = mask(crc32c::crc32c(&file[start..]));
    file.extend(crc.to_le_bytes());
    handle
}
