//! Digests, which tell whether a file arrived intact.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::plain;
use crate::error::{Error, Result};

/// No model is larger; a server that sends more is not to fill the disk, and a file of the cache that has more is not read.
pub(crate) const MAX_FILE_BYTES: u64 = 8 << 30;

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Digest {
    /// SHA-256, or its first digits. The Hub has it for large files (LFS), and authors put it into file names.
    Sha256(String),
    /// The hash of git's blob. The Hub has it for all other files.
    Git(String),
}

impl Digest {
    /// The digest in the Hub's ETag, which is also the file's name in the cache; `None` for another kind of ETag.
    pub(crate) fn of_etag(etag: &str) -> Option<Self> {
        let hex = etag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match etag.len() {
            64 if hex => Some(Self::Sha256(etag.into())),
            40 if hex => Some(Self::Git(etag.into())),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::Git(_) => "git hash",
        }
    }

    pub(crate) fn wanted(&self) -> &str {
        match self {
            Self::Sha256(wanted) | Self::Git(wanted) => wanted,
        }
    }

    /// The file's digest, and whether it matches this one.
    pub(crate) fn check(&self, path: &Path) -> Result<(String, bool)> {
        self.check_open(path, &plain::open(path).map_err(Error::io(path))?)
    }

    /// The same of a file that has been opened and not been read yet.
    pub(crate) fn check_open(&self, path: &Path, file: &File) -> Result<(String, bool)> {
        let length = file.metadata().map_err(Error::io(path))?.len();
        if length > MAX_FILE_BYTES {
            return Ok((format!("that of {length} bytes"), false));
        }
        let found = match self {
            Self::Sha256(_) => {
                let mut hash = Sha256::new();
                read_through(file, |bytes| hash.update(bytes)).map_err(Error::io(path))?;
                hex(&hash.finalize())
            }
            // What `git hash-object` says.
            Self::Git(_) => {
                let mut hash = Sha1::new();
                hash.update(format!("blob {length}\0"));
                read_through(file, |bytes| hash.update(bytes)).map_err(Error::io(path))?;
                hex(&hash.finalize())
            }
        };
        let same = found.starts_with(self.wanted());
        Ok((found, same))
    }
}

/// SHA-256 of a file, in hex.
pub(crate) fn sha256_of(path: &Path) -> Result<String> {
    sha256_of_all(&[path])
}

/// SHA-256 of several files, one behind the other, in hex.
pub(crate) fn sha256_of_all(paths: &[impl AsRef<Path>]) -> Result<String> {
    let mut hash = Sha256::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let file = plain::open(path).map_err(Error::io(path))?;
        read_through(&file, |bytes| hash.update(bytes)).map_err(Error::io(path))?;
    }
    Ok(hex(&hash.finalize()))
}

/// SHA-256 of some bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn read_through(mut file: &File, mut with: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => with(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_a_digest_where_it_looks_like_one() {
        let (sha, git) = ("a".repeat(64), "0".repeat(40));
        assert_eq!(Digest::of_etag(&sha), Some(Digest::Sha256(sha)));
        assert_eq!(Digest::of_etag(&git), Some(Digest::Git(git)));
        for other in ["", "1234-5678", &"A".repeat(64), &"g".repeat(40), &"a".repeat(63)] {
            assert_eq!(Digest::of_etag(other), None);
        }
    }

    #[test]
    fn files_have_the_digests_that_others_say() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hello");
        std::fs::write(&path, "hello\n").unwrap();
        // From `sha256sum` and `git hash-object`.
        let sha = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        for wanted in [Digest::Sha256(sha.into()), Digest::Git(git.into()), Digest::Sha256(sha[..8].into())] {
            assert!(wanted.check(&path).unwrap().1, "{wanted:?}");
        }
        assert_eq!(Digest::Sha256("00".into()).check(&path).unwrap(), (sha.into(), false));
        assert_eq!(sha256(b"hello\n"), sha);
    }
}
