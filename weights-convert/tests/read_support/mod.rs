//! Small writers of the formats that are read.
#![allow(dead_code)] // every test crate uses its part

pub(crate) mod bundle;
pub(crate) mod flat;
pub(crate) mod proto;
pub(crate) mod torch;

use std::path::Path;

use weights_convert::{Checkpoint, Error, Result};

/// Opens a file, checks it, and reads everything in it.
pub(crate) fn read_all(path: &Path) -> Result<Vec<(String, weights_convert::RawTensor)>> {
    let checkpoint = Checkpoint::open(path)?;
    checkpoint.check()?;
    checkpoint.tensors().map(|(name, _)| Ok((name.to_owned(), checkpoint.read(name)?))).collect()
}

/// What `use_file` makes of a file of the given content.
pub(crate) fn with_file<T>(name: &str, bytes: &[u8], use_file: impl FnOnce(&Path) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    use_file(&path)
}

/// Opens a file of the given content.
pub(crate) fn open_bytes(name: &str, bytes: &[u8]) -> Result<Checkpoint> {
    with_file(name, bytes, Checkpoint::open)
}

/// The error of opening a file of the given content.
pub(crate) fn error_of(name: &str, bytes: &[u8]) -> Error {
    open_bytes(name, bytes).expect_err("this file must not open")
}
