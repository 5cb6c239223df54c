//! The byte ranges of a PyTorch file that hold its storages, with their checksums.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::file::{PlainFile, Section};
use crate::error::{Error, Result};
use crate::shown::in_message;

/// A range of the file.
#[derive(Debug)]
pub(crate) struct Record {
    name: String,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// The checksum that the file stores for it.
    crc32: Option<u32>,
    /// Whether all of it was read once and found sound: many tensors may lie in one record.
    sound: AtomicBool,
}

impl Record {
    pub(crate) fn new(name: &str, offset: u64, len: u64, crc32: Option<u32>) -> Self {
        Self { name: name.to_owned(), offset, len, crc32, sound: AtomicBool::new(false) }
    }

    /// Reads through the record and verifies its checksum.
    pub(crate) fn check(&self, file: &PlainFile) -> Result<()> {
        if self.sound.load(Ordering::Relaxed) {
            return Ok(());
        }
        let computed = crc32(file.section(self.offset, self.len));
        let computed = computed.map_err(|e| file.failed(self.offset, self.len, e))?;
        if let Some(stored) = self.crc32.filter(|&stored| stored != computed) {
            let (path, record) = (file.path().to_owned(), in_message(&self.name));
            return Err(Error::RecordChecksum { path, record, stored, computed });
        }
        self.sound.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn crc32(mut section: BufReader<Section<'_>>) -> std::io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    loop {
        let bytes = section.fill_buf()?;
        if bytes.is_empty() {
            return Ok(hasher.finalize());
        }
        hasher.update(bytes);
        let n = bytes.len();
        section.consume(n);
    }
}

/// The records of the storages, by the storages' keys.
pub(crate) type Records = BTreeMap<String, Arc<Record>>;
