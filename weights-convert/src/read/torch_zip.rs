//! PyTorch files since 1.6: a zip archive with the description (`data.pkl`) and one record for each storage.
//!
//! The `zip` crate reads the archive's directory and nothing else. Records are stored and not compressed, so
//! that their bytes are read where they lie, through the same checked reads as in every other format.

use std::io::{BufReader, Error as IoError, ErrorKind, Read, Result as IoResult, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use zip::{CompressionMethod, ZipArchive};

use super::file::PlainFile;
use super::reader::Opened;
use super::torch::{fault, opened};
use super::torch_record::{Record, Records};
use super::{pickle, torch_tensor};
use crate::format::Format;
use crate::shown::in_message;
use crate::{Error, Result};

/// How the first record begins.
pub(crate) const MAGIC: &[u8] = b"PK\x03\x04";
/// The description.
const DESCRIPTION: &str = "data.pkl";
/// More records than any network has storages.
const MAX_RECORDS: usize = 1 << 18;

type Archive<'a> = ZipArchive<BufReader<Cursor<'a>>>;

/// Opens a zip archive of PyTorch.
pub(crate) fn open(file: PlainFile, state: Option<&str>) -> Result<Opened> {
    let path = file.path().to_owned();
    let malformed = |what: String| Error::Malformed { path: path.clone(), format: Format::TorchZip, what };

    // A small buffer: the directory's entries and the records' headers are read one by one.
    let mut archive = ZipArchive::new(BufReader::with_capacity(512, Cursor { file: &file, at: 0 }))
        .map_err(|e| malformed(format!("its list of records cannot be read ({e})")))?;
    if archive.len() > MAX_RECORDS {
        return Err(malformed(format!("it has more than {MAX_RECORDS} records")));
    }
    // Programs differ in which of two records of one name they take, and in what they make of shared bytes.
    if archive.has_duplicate_names() {
        return Err(malformed("two of its records have one name".into()));
    }
    if archive.has_overlapping_entries().map_err(|e| malformed(format!("the header of a record: {e}")))? {
        return Err(malformed("its records overlap".into()));
    }

    let names: Vec<Option<String>> =
        archive.file_names_raw().map(|name| std::str::from_utf8(name).ok().map(str::to_owned)).collect();
    let root = root(&path, &names)?;
    let (mut description, mut byte_order, mut records) = (None, None, Records::new());
    for (index, name) in names.iter().enumerate() {
        let Some(inner) = name.as_deref().and_then(|name| name.strip_prefix(root)) else {
            continue;
        };
        match inner {
            DESCRIPTION => description = Some(record(&path, &mut archive, index, inner)?),
            "byteorder" => byte_order = Some(record(&path, &mut archive, index, inner)?),
            _ => {
                if let Some(key) = inner.strip_prefix("data/").filter(|key| !key.is_empty()) {
                    records.insert(key.to_owned(), Arc::new(record(&path, &mut archive, index, inner)?));
                }
            }
        }
    }
    drop(archive);

    let description = description.ok_or_else(|| malformed(format!("it has no {DESCRIPTION}")))?;
    let description = whole(&file, &description, pickle::MAX_PICKLE)?;
    let big_endian = match byte_order.map(|record| whole(&file, &record, 16)).transpose()?.as_deref() {
        None | Some(b"little") => false,
        Some(b"big") => true,
        Some(_) => return Err(malformed("its byte order is neither little nor big".into())),
    };
    let pickle = pickle::load(&Bytes::from(description), 0).map_err(|e| fault(&path, Format::TorchZip, e))?;
    let storages = torch_tensor::storages(&pickle.values).map_err(malformed)?;
    opened(file, &pickle, &storages, &records, big_endian, state)
}

/// What stands before the description's name: a folder of any name.
fn root<'a>(path: &std::path::Path, names: &'a [Option<String>]) -> Result<&'a str> {
    let foreign = |kind, way_out| Error::Foreign { path: path.to_owned(), kind, way_out };
    let names = || names.iter().flatten().map(String::as_str);
    let is_root = |root: &&str| root.is_empty() || root.ends_with('/');
    let mut roots = names().filter_map(|name| name.strip_suffix(DESCRIPTION)).filter(is_root);
    let root = roots.next().ok_or_else(|| {
        foreign(
            "a zip archive without a data.pkl, so no PyTorch file",
            "if a file of weights is in it, unpack it and give that",
        )
    })?;
    if roots.next().is_some() {
        let what = format!("two of its records are named {DESCRIPTION}");
        return Err(Error::Malformed { path: path.to_owned(), format: Format::TorchZip, what });
    }
    let script = |name: &str| {
        name.strip_prefix(root).is_some_and(|inner| inner == "constants.pkl" || inner.starts_with("code/"))
    };
    if names().any(script) {
        return Err(foreign(
            "a TorchScript archive, which holds a program",
            "save its weights: `torch.save(torch.jit.load(path).state_dict(), new_path)`",
        ));
    }
    Ok(root)
}

/// Where a record lies.
fn record(path: &std::path::Path, archive: &mut Archive<'_>, index: usize, name: &str) -> Result<Record> {
    let shown = in_message(name);
    let entry = archive.by_index_raw(index).map_err(|e| Error::Malformed {
        path: path.to_owned(),
        format: Format::TorchZip,
        what: format!("the record `{shown}`: {e}"),
    })?;
    let stored = entry.compression() == CompressionMethod::Stored && !entry.encrypted();
    match entry.data_start() {
        Some(start) if stored && entry.size() == entry.compressed_size() => {
            Ok(Record::new(name, start, entry.size(), Some(entry.crc32())))
        }
        _ => {
            let what = format!(
                "the record `{shown}` is compressed or encrypted, which PyTorch's are not; \
                 unpack the archive and pack it again without compression (`zip -0 -r`)"
            );
            Err(Error::Unsupported { path: path.to_owned(), what })
        }
    }
}

/// All bytes of a small record, verified.
fn whole(file: &PlainFile, record: &Record, limit: u64) -> Result<Vec<u8>> {
    let too_large = || Error::FileTooLarge { path: file.path().to_owned(), size: record.len, limit };
    let len = usize::try_from(record.len).ok().filter(|_| record.len <= limit).ok_or_else(too_large)?;
    record.check(file)?;
    file.read(record.offset, len)
}

/// A file as the stream with a position that the `zip` crate takes.
struct Cursor<'a> {
    file: &'a PlainFile,
    at: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, buf: &mut [u8]) -> IoResult<usize> {
        let left = self.file.len().saturating_sub(self.at);
        let n = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let n = self.file.part(self.at, n as u64).read(buf)?;
        self.at = self.at.saturating_add(n as u64);
        Ok(n)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.file.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| IoError::from(ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
