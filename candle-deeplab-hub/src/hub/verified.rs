//! Which files have been compared with their digests, so that each is read for that once.
//!
//! A record is a small file in a folder of ours, since huggingface_hub knows every file in its own: the digest that was
//! found, and the size and the times of the file then. A file that has changed since has others, and is compared again.

use std::fs::{File, Metadata};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::digest::{Digest, sha256};
use super::plain;
use super::progress::{Event, Progress};
use crate::error::{Error, Result};

/// A record is a line.
const MAX_RECORD_BYTES: u64 = 1024;
/// Longer than the clock of a file system takes to tick. What was changed more recently than that could change once more
/// without another time.
const TICK: Duration = Duration::from_millis(20);

/// A file that is not what it was when it was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) path: PathBuf,
    kind: &'static str,
    found: String,
    wanted: String,
}

impl Damage {
    /// The error where there is no other to be had, with what to do.
    pub(crate) fn error(self, way_out: impl Into<String>) -> Error {
        let Self { path, kind: digest, found, wanted } = self;
        Error::Damaged { path, digest, found, wanted, way_out: way_out.into() }
    }

    /// What is wrong, for whoever watches.
    pub(crate) fn tell(&self, progress: &Progress) {
        let Self { path, kind, found, wanted } = self;
        let what = format!("{}: its {kind} is {found}, not {wanted}", path.display());
        progress(Event::Damaged { what: &what });
    }

    /// The error where the network must not be asked for another.
    pub(crate) fn offline(self) -> Error {
        self.error("HF_HUB_OFFLINE is set: unset it and run the command again, which fetches the file again")
    }
}

/// What the cache has of something.
#[derive(Debug)]
pub(crate) enum Here {
    Nothing,
    /// It is there, and as it was when it was fetched.
    Good(PathBuf),
    /// It is there, and must not be used.
    Damaged(Damage),
}

/// The records of files that were compared.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    folder: PathBuf,
}

impl Records {
    /// Those in the folder of what is ours.
    pub(crate) fn new(models: &Path) -> Self {
        Self { folder: models.join("verified") }
    }

    /// Compares a file with its digest, unless that was done and it has not changed since. `None` where it is right.
    ///
    /// # Errors
    /// [`Error::Library`] where it cannot be read.
    pub(crate) fn check(&self, path: &Path, digest: &Digest) -> Result<Option<Damage>> {
        let file = plain::open(path).map_err(Error::io(path))?;
        let stamp = stamp(&file.metadata().map_err(Error::io(path))?);
        let record = self.record(path);
        if record.as_ref().is_some_and(|record| is_recorded(record, digest, &stamp)) {
            return Ok(None);
        }
        let (found, same) = digest.check_open(path, &file)?;
        if !same {
            let (kind, wanted) = (digest.kind(), digest.wanted().to_owned());
            return Ok(Some(Damage { path: path.to_owned(), kind, found, wanted }));
        }
        self.write(&file, digest, &stamp, record);
        Ok(None)
    }

    /// A file has just been compared with its digest.
    pub(crate) fn remember(&self, path: &Path, digest: &Digest) {
        if let Ok((file, metadata)) = plain::open(path).and_then(|file| file.metadata().map(|found| (file, found))) {
            self.write(&file, digest, &stamp(&metadata), self.record(path));
        }
    }

    /// A file is to be removed.
    pub(crate) fn forget(&self, path: &Path) {
        if let Some(record) = self.record(path) {
            // What stays behind takes a few bytes, and fits no other file.
            let _ = std::fs::remove_file(record);
        }
    }

    /// Writes a record of what was found when the file was as `before` says. Without one, which is all that comes of an
    /// error in here, the file is read once more.
    fn write(&self, file: &File, digest: &Digest, before: &str, record: Option<PathBuf>) {
        let age = file.metadata().ok().and_then(|metadata| SystemTime::now().duration_since(changed(&metadata)).ok());
        // Of a file from the future nobody can say when it has rested.
        let Some(age) = age else { return };
        std::thread::sleep(TICK.saturating_sub(age));
        if !file.metadata().is_ok_and(|metadata| stamp(&metadata) == *before) {
            return;
        }
        let written = record.map(|record| -> std::io::Result<()> {
            std::fs::create_dir_all(&self.folder)?;
            let mut file = plain::open_to_write(&record)?;
            // Half a record is none, so this needs no other name first.
            file.set_len(0)?;
            file.write_all(line(digest, before).as_bytes())
        });
        drop(written);
    }

    /// Where the record of a file is, by whatever link it is reached.
    fn record(&self, path: &Path) -> Option<PathBuf> {
        let path = path.canonicalize().ok()?;
        Some(self.folder.join(&sha256(path.as_os_str().as_encoded_bytes())[..32]))
    }
}

fn is_recorded(record: &Path, digest: &Digest, stamp: &str) -> bool {
    matches!(plain::read_small(record, MAX_RECORD_BYTES), Ok(Some(text)) if text == line(digest, stamp))
}

fn line(digest: &Digest, stamp: &str) -> String {
    format!("{} {} {stamp}\n", digest.kind(), digest.wanted())
}

/// When a file was changed last.
fn changed(metadata: &Metadata) -> SystemTime {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    #[cfg(unix)]
    let modified = {
        use std::os::unix::fs::MetadataExt;
        let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
        let nanos = u32::try_from(metadata.ctime_nsec()).unwrap_or_default();
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos)).map_or(modified, |time| modified.max(time))
    };
    modified
}

/// What changes with a file's content, even where somebody sets its time back.
fn stamp(metadata: &Metadata) -> String {
    let nanos = |time: std::io::Result<SystemTime>| {
        time.ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default().as_nanos()
    };
    #[cfg(unix)]
    let more = {
        use std::os::unix::fs::MetadataExt;
        format!("{} {} {}", metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
    };
    #[cfg(not(unix))]
    let more = nanos(metadata.created());
    format!("{} {} {more}", metadata.len(), nanos(metadata.modified()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that says that it was written a while ago, with its digest.
    fn rested(dir: &Path) -> (PathBuf, Digest) {
        let path = dir.join("blob");
        std::fs::write(&path, "content").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(10)).unwrap();
        (path, Digest::Sha256(sha256(b"content")))
    }

    #[test]
    fn what_was_found_is_remembered_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path());
        let (path, digest) = rested(dir.path());
        assert_eq!(records.check(&path, &digest).unwrap(), None);
        let record = records.record(&path).unwrap();
        let stamp = |path: &Path| stamp(&path.metadata().unwrap());
        assert!(is_recorded(&record, &digest, &stamp(&path)));
        // It is what is believed: a record of another digest makes a file of that.
        let other = Digest::Sha256(sha256(b"other"));
        assert_eq!(records.check(&path, &other).unwrap().unwrap().found, digest.wanted());
        std::fs::write(&record, line(&other, &stamp(&path))).unwrap();
        assert_eq!(records.check(&path, &other).unwrap(), None);
        // Another content is seen, even with the time of before.
        let time = path.metadata().unwrap().modified().unwrap();
        std::fs::write(&path, "c0ntent").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        for digest in [&digest, &other] {
            let damage = records.check(&path, digest).unwrap().unwrap();
            assert_eq!(damage.found, sha256(b"c0ntent"));
            let said = damage.offline().to_string();
            assert!(
                said.contains("blob: the file is damaged") && said.contains("HF_HUB_OFFLINE is set: unset it"),
                "{said}"
            );
        }
        records.forget(&path);
        assert!(!record.exists());
    }

    #[test]
    fn what_is_from_the_future_is_always_compared() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path());
        let (path, digest) = rested(dir.path());
        records.remember(&path, &digest);
        let record = records.record(&path).unwrap();
        assert!(record.exists());
        records.forget(&path);
        let future = SystemTime::now() + Duration::from_secs(100);
        File::options().write(true).open(&path).unwrap().set_modified(future).unwrap();
        assert_eq!(records.check(&path, &digest).unwrap(), None);
        assert!(!record.exists());
    }
}
