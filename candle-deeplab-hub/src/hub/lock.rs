//! Lock files, by which processes wait for each other.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use super::plain;
use super::progress::{Event, Progress};
use crate::error::{Error, Result};

/// A lock on a file, held until it is dropped or the process ends. Python's huggingface_hub takes the same kind of lock
/// (`flock`).
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Waits for the lock. If it has to wait, `progress` gets an event with `what`.
    pub(crate) fn acquire(path: &Path, what: &str, progress: &Progress) -> Result<Self> {
        let wrong = |source: io::Error| {
            let reason = match source.kind() {
                io::ErrorKind::Unsupported => {
                    "this file system has no locks: set HF_HOME to a folder on another one".into()
                }
                _ => unwritable(&source),
            };
            Error::Cache { path: path.to_owned(), reason, source }
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(wrong)?;
        }
        loop {
            let file = plain::open_or_create(path).map_err(wrong)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    progress(Event::Waiting { what });
                    file.lock().map_err(wrong)?;
                }
                Err(TryLockError::Error(error)) => return Err(wrong(error)),
            }
            if is_still(&file, path) {
                return Ok(Self(file));
            }
        }
    }
}

/// Whether the locked file still has its name: Python's client removes lock files now and then.
#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata().map(id), std::fs::metadata(path).map(id)), (Ok(a), Ok(b)) if a == b)
}

/// An open file cannot be removed on this system.
#[cfg(not(unix))]
fn is_still(_: &File, _: &Path) -> bool {
    true
}

/// Why a file cannot be written into the cache, and what to do.
pub(crate) fn unwritable(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: make room (`candle-deeplab cache list` says what is where), or set HF_HOME to a folder \
             on another one; what has arrived is kept"
                .into()
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("{source}: set HF_HOME to a folder that you may write to")
        }
        _ => source.to_string(),
    }
}
