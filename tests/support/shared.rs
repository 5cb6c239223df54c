//! Finds reference data: a small part is in every checkout, the rest in a folder that may be missing.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file or folder of `tests/golden`, which every checkout has.
pub(crate) fn kept(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden")).join(path)
}

/// A file or folder of the shared reference data (beside the checkout, or in the folder that `DEEPLAB_SHARED` names).
/// If it is missing, the test is skipped.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("DEEPLAB_SHARED")
        .map_or_else(|| Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")).to_owned(), PathBuf::from);
    let path = root.join(path);
    if !path.exists() {
        skip(&format!("{} is not here", path.display()));
        return None;
    }
    Some(path)
}

/// Says that a test is skipped, and why: it prints it, and appends it to the file that `SKIPPED_TESTS` names, since cargo
/// hides the output of a test that passes.
pub(crate) fn skip(reason: &str) {
    let skipped = format!("skipped: {reason}");
    println!("{skipped}");
    if let Some(list) = std::env::var_os("SKIPPED_TESTS") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).unwrap();
        // A single write, since several tests may append at once.
        list.write_all(format!("{skipped}\n").as_bytes()).unwrap();
    }
}
