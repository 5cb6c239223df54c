//! Files of JSON lines that grow: a program that is killed leaves whole lines, and at most a part of one at the end.

use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};

/// Reads the whole lines of a file.
pub(crate) struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<&'a File>,
    /// The longest line in bytes.
    most: u64,
    line: Vec<u8>,
    number: usize,
    end: u64,
}

impl<'a> Lines<'a> {
    /// Lines of at most `most` bytes; errors call the file `path`.
    pub(crate) fn new(path: &'a Path, file: &'a File, most: u64) -> Self {
        Self { path, reader: BufReader::new(file), most, line: vec![], number: 0, end: 0 }
    }

    /// The next whole line without its end; `None` at the end of the file, and where a part of a line follows.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Data`] for a line that is too long.
    pub(crate) fn read(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        self.number += 1;
        (&mut self.reader).take(self.most).read_until(b'\n', &mut self.line).map_err(Error::io(self.path))?;
        match self.line.strip_suffix(b"\n") {
            Some(text) => {
                self.end += self.line.len() as u64;
                Ok(Some(text))
            }
            None if self.line.len() as u64 == self.most => {
                Err(self.wrong(&format!("is longer than {} MiB", self.most >> 20)))
            }
            None => Ok(None),
        }
    }

    /// The number of the last line, from 1.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// The place in the file after the last whole line.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// An error that names the last line.
    pub(crate) fn wrong(&self, reason: &str) -> Error {
        let number = self.number;
        Error::data(self.path, format!("line {number} {reason}: remove it, or move the file away to begin a new one"))
    }
}

/// Cuts a file, and goes to its end.
pub(crate) fn cut(path: &Path, mut file: &File, end: u64) -> Result<()> {
    file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(Error::io(path))?;
    Ok(())
}

/// Appends a line in one piece.
pub(crate) fn append(path: &Path, mut file: &File, record: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(record).map_err(|error| Error::io(path)(error.into()))?;
    line.push(b'\n');
    file.write_all(&line).map_err(Error::io(path))
}

/// Locks a file until it is closed. If another program has it, the error says `busy` of `path`.
pub(crate) fn lock(file: &File, path: &Path, busy: &str) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::data(path, busy)),
        Err(TryLockError::Error(error)) => Err(Error::io(path)(error)),
    }
}
