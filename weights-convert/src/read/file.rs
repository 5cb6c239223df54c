//! Plain files, read at positions.
//!
//! Not memory maps: a file that another program cuts short while it is read must be an error, and with a
//! map it is a signal.

use std::fs::File;
use std::io::{BufReader, Error as IoError, ErrorKind, Read, Result as IoResult, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::{Error, Result};

/// What [`PlainFile::section`] reads at a time.
const BUFFER: usize = 64 * 1024;
/// How a Git-LFS pointer begins.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The whole content of a file that may have `limit` bytes.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Bytes> {
    PlainFile::open(path)?.read_all(limit)
}

/// A regular file of known length that is not a Git-LFS pointer.
#[derive(Debug)]
pub(crate) struct PlainFile {
    path: PathBuf,
    file: Mutex<File>,
    len: u64,
}

impl PlainFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |action| move |source| Error::Io { path: path.to_owned(), action, source };
        // First, since `File::open` would block on a pipe until somebody writes to it.
        let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => Error::NotFound { path: path.to_owned() },
            _ => io("look at it")(source),
        })?;
        if !metadata.is_file() {
            return Err(Error::NotAFile { path: path.to_owned() });
        }
        let file = File::open(path).map_err(io("open it"))?;
        let this = Self { path: path.to_owned(), file: Mutex::new(file), len: metadata.len() };
        if this.head(LFS_POINTER.len())? == LFS_POINTER {
            return Err(Error::LfsPointer { path: path.to_owned() });
        }
        Ok(this)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The first `n` bytes, or all of a shorter file.
    pub(crate) fn head(&self, n: usize) -> Result<Vec<u8>> {
        let n = usize::try_from(self.len).map_or(n, |len| len.min(n));
        self.read(0, n)
    }

    /// The last `n` bytes, or all of a shorter file.
    pub(crate) fn tail(&self, n: usize) -> Result<Vec<u8>> {
        let n = usize::try_from(self.len).map_or(n, |len| len.min(n));
        self.read(self.len.saturating_sub(n as u64), n)
    }

    /// The whole file, unless it is larger than `limit`.
    pub(crate) fn read_all(&self, limit: u64) -> Result<Bytes> {
        let too_large = || Error::FileTooLarge { path: self.path.clone(), size: self.len, limit };
        if self.len > limit {
            return Err(too_large());
        }
        self.read(0, usize::try_from(self.len).map_err(|_| too_large())?).map(Bytes::from)
    }

    /// `len` bytes from `offset` on.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        // Memory is asked for only when the file can fill it.
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len) {
            return Err(Error::Truncated { path: self.path.clone(), offset, wanted: len as u64 });
        }
        let mut data = buffer(&self.path, len)?;
        data.resize(len, 0);
        self.part(offset, len as u64)
            .read_exact(&mut data)
            .map_err(|source| self.failed(offset, len as u64, source))?;
        Ok(data)
    }

    /// A reader of `len` bytes from `offset` on, with a small buffer.
    pub(crate) fn section(&self, offset: u64, len: u64) -> BufReader<Section<'_>> {
        BufReader::with_capacity(BUFFER, self.part(offset, len))
    }

    /// A reader of `len` bytes from `offset` on, without a buffer.
    pub(crate) fn part(&self, offset: u64, len: u64) -> Section<'_> {
        Section { file: self, at: offset, left: len }
    }

    /// Turns an error of a [`Section`] into one of this crate.
    pub(crate) fn failed(&self, offset: u64, wanted: u64, source: IoError) -> Error {
        match source.kind() {
            ErrorKind::UnexpectedEof => Error::Truncated { path: self.path.clone(), offset, wanted },
            _ => Error::Io { path: self.path.clone(), action: "read it", source },
        }
    }
}

/// An empty buffer with room for `size` bytes of a file.
pub(crate) fn buffer(path: &Path, size: usize) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    let no_memory = |_| Error::OutOfMemory { path: path.to_owned(), size: size as u64 };
    data.try_reserve_exact(size).map_err(no_memory)?;
    Ok(data)
}

/// A part of a file as a stream. It ends where the part ends; a file that ends earlier is an error.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    file: &'a PlainFile,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buf: &mut [u8]) -> IoResult<usize> {
        let wanted = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        let Some(buf) = buf.get_mut(..wanted).filter(|b| !b.is_empty()) else {
            return Ok(0);
        };
        // A reader that panicked left an unknown position behind, and the position is set anew.
        let mut file = self.file.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.at))?;
        let n = file.read(buf)?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cut_short_after_opening_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, [7; 100]).unwrap();
        let file = PlainFile::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(50).unwrap();
        assert_eq!(file.read(0, 50).unwrap(), [7; 50]);
        assert!(matches!(file.read(0, 51), Err(Error::Truncated { .. })));
        assert!(matches!(file.read_all(1000), Err(Error::Truncated { .. })));
    }

    #[test]
    fn more_than_the_file_has_is_refused_before_memory_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, [7; 100]).unwrap();
        let file = PlainFile::open(&path).unwrap();
        assert!(matches!(file.read(1, usize::MAX), Err(Error::Truncated { .. })));
        assert!(matches!(file.read(u64::MAX, 2), Err(Error::Truncated { .. })));
        assert!(matches!(file.read_all(99), Err(Error::FileTooLarge { size: 100, limit: 99, .. })));
    }
}
