//! PyTorch files before 1.6: five pickles (a magic number, the protocol, the writer's system, the description,
//! the storages' keys), then the storages in that order, each after the number of its elements.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::file::PlainFile;
use super::pickle::{self, Fault, MAX_PICKLE, Pickle, Value};
use super::reader::Opened;
use super::torch::{fault, opened};
use super::torch_record::{Record, Records};
use super::torch_tensor::{self, Storages};
use crate::format::Format;
use crate::shown::in_message;
use crate::{Error, Result};

/// 0x1950a86a20f9469cfc6c, as a pickle has it.
const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The only version of the format.
const PROTOCOL: i64 = 1001;
/// What is read of the file at first; enough for most descriptions.
const FIRST_READ: u64 = 1 << 20;
/// The number of elements before each storage.
const COUNT: u64 = 8;

/// The pickles at the start of the file.
struct Head {
    description: Pickle,
    keys: Pickle,
}

/// Opens a file of the legacy format.
pub(crate) fn open(file: PlainFile, state: Option<&str>) -> Result<Opened> {
    let path = file.path().to_owned();
    let malformed = |what: String| Error::Malformed { path: path.clone(), format: Format::TorchLegacy, what };
    let head = head(&file)?;
    let storages = torch_tensor::storages(&head.description.values).map_err(malformed)?;
    let records = records(&file, &head.keys, &storages)?;
    // The storages are little-endian, whatever the writer's system was: PyTorch saw to that.
    opened(file, &head.description, &storages, &records, false, state)
}

/// Reads the pickles. How long they are is not told, so more of the file is read until they are complete.
fn head(file: &PlainFile) -> Result<Head> {
    let limit = file.len().min(MAX_PICKLE);
    let mut size = FIRST_READ.min(limit);
    loop {
        let input = Bytes::from(file.read(0, usize::try_from(size).unwrap_or(usize::MAX))?);
        match pickles(file.path(), &input)? {
            Ok(head) => return Ok(head),
            Err(Fault::Ended) if size < limit => size = size.saturating_mul(8).min(limit),
            Err(Fault::Ended) if limit < file.len() => {
                let what = format!("its description takes more than {MAX_PICKLE} bytes");
                return Err(fault(file.path(), Format::TorchLegacy, Fault::Bad(what)));
            }
            Err(other) => return Err(fault(file.path(), Format::TorchLegacy, other)),
        }
    }
}

fn pickles(path: &Path, input: &Bytes) -> Result<Result<Head, Fault>> {
    let magic = match pickle::load(input, 0) {
        Ok(pickle) => Some(pickle),
        Err(Fault::Ended) => return Ok(Err(Fault::Ended)),
        Err(_) => None,
    };
    let is_magic = |magic: &Pickle| match magic.values.get(magic.root) {
        Value::Long(span) => magic.values.bytes(*span) == MAGIC,
        _ => false,
    };
    let Some(magic) = magic.filter(is_magic) else {
        return Err(Error::Foreign {
            path: path.to_owned(),
            kind: "a Python pickle that `torch.save` did not write",
            way_out: "load it with the program that wrote it and save its weights with `torch.save`",
        });
    };
    let read = || {
        let protocol = pickle::load(input, magic.end)?;
        if protocol.values.int(protocol.root) != Some(PROTOCOL) {
            return Err(Fault::Bad(format!("its protocol is not {PROTOCOL}")));
        }
        let system = pickle::load(input, protocol.end)?;
        let description = pickle::load(input, system.end)?;
        let keys = pickle::load(input, description.end)?;
        Ok(Head { description, keys })
    };
    Ok(read())
}

/// Where the storages lie. One that the file does not hold whole is listed as short as it is, so that the
/// tensor in it is told.
fn records(file: &PlainFile, keys: &Pickle, storages: &Storages<'_>) -> Result<Records> {
    let path = file.path();
    let malformed = |what: String| Error::Malformed { path: path.to_owned(), format: Format::TorchLegacy, what };
    let mut named = BTreeMap::new();
    for storage in storages.values() {
        let size = (storage.numel, storage.bytes);
        if *named.entry(storage.key).or_insert(size) != size {
            return Err(malformed(format!("it describes the storage `{}` in two ways", in_message(storage.key))));
        }
    }
    let list = keys.values.items(keys.root).ok_or_else(|| malformed("its list of storages is no list".into()))?;
    let mut records = Records::new();
    let mut at = keys.end as u64;
    for key in list {
        let key = keys.values.str(*key).ok_or_else(|| malformed("the key of a storage is no string".into()))?;
        let shown = in_message(key);
        let &(numel, bytes) = named
            .get(key)
            .ok_or_else(|| malformed(format!("it lists a storage `{shown}` that it does not describe")))?;
        let start = at.saturating_add(COUNT);
        if start > file.len() {
            break;
        }
        let count = file.read(at, 8)?.first_chunk().map_or(u64::MAX, |count| u64::from_le_bytes(*count));
        if count != numel {
            return Err(malformed(format!("its storage `{shown}` should have {numel} elements and has {count}")));
        }
        let end = start.saturating_add(bytes).min(file.len());
        let record = Record::new(key, start, end.saturating_sub(start), None);
        if records.insert(key.to_owned(), Arc::new(record)).is_some() {
            return Err(malformed(format!("it lists the storage `{shown}` twice")));
        }
        at = end;
    }
    Ok(records)
}
