//! Writes files atomically: a file is either complete or not there.

use std::ffi::OsStr;
use std::fs::{DirEntry, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Writes a file atomically, replacing a file of that name. The content goes to a temporary file beside it, which is
/// renamed when it is complete and on disk, so that no reader ever sees half of it and a failure leaves the old file.
///
/// ```no_run
/// # use std::io::Write;
/// candle_deeplab::atomic::write("notes.txt", |file| writeln!(file, "whole"))?;
/// # Ok::<(), candle_deeplab::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] with `path`: an error of `content`, a directory that cannot be written, or a `path` that exists and is
/// not a regular file (a device or a directory is never replaced).
pub fn write(path: impl AsRef<Path>, content: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>) -> Result<()> {
    let path = path.as_ref();
    if std::fs::metadata(path).is_ok_and(|target| !target.is_file()) {
        let reason = io::Error::new(io::ErrorKind::InvalidInput, "exists and is not a regular file");
        return Err(Error::io(path)(reason));
    }
    persist(path, content, |file| file.persist(path))
}

/// Like [`write()`], but never replaces a file, even one that appears meanwhile.
///
/// # Errors
/// [`Error::Io`] as for [`write()`]; of the kind `AlreadyExists` where something exists at `path`.
pub fn write_new(
    path: impl AsRef<Path>,
    content: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    if path.symlink_metadata().is_ok() {
        return Err(Error::io(path)(io::ErrorKind::AlreadyExists.into()));
    }
    persist(path, content, |file| file.persist_noclobber(path))
}

fn persist(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
    rename: impl FnOnce(NamedTempFile) -> Result<File, tempfile::PersistError>,
) -> Result<()> {
    let work = || {
        // A bare file name has the parent "", which is the current directory.
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = temporary_in(dir)?;
        let mut buffered = BufWriter::new(file.as_file_mut());
        content(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.as_file().sync_all()?;
        rename(file)?;
        Ok(())
    };
    work().map_err(Error::io(path))
}

/// How long a temporary file may be untouched before it counts as left over from a run that ended by a crash.
const LEFT_OVER: Duration = Duration::from_secs(3600);

/// Removes what crashed runs left in a directory: temporary files of [`write()`] that nobody has written to for an hour. A
/// file that cannot be removed stays.
pub fn remove_leftovers(dir: impl AsRef<Path>) {
    let is_ours = |name: &OsStr| {
        let random = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(SUFFIX));
        random.is_some_and(|random| random.len() == RANDOM && random.chars().all(|c| c.is_ascii_alphanumeric()))
    };
    let is_old = |entry: &DirEntry| {
        let metadata = entry.metadata().ok().filter(Metadata::is_file);
        let modified = metadata.and_then(|metadata| metadata.modified().ok());
        modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > LEFT_OVER)
    };
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if is_ours(&entry.file_name()) && is_old(&entry) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// What the names of temporary files end with, behind a dot and some random letters.
const SUFFIX: &str = ".incomplete";
/// How many random letters these are.
const RANDOM: usize = 6;

/// By default, only their owner can read temporary files. Ours become ordinary files, so they get ordinary permissions,
/// which the system restricts by the umask.
fn temporary_in(dir: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    let permissions = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    builder.prefix(".").rand_bytes(RANDOM).suffix(SUFFIX).tempfile_in(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_written_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        for content in ["one", "another"] {
            write(&path, |file| file.write_all(content.as_bytes())).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn a_failure_leaves_what_was_there_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "before").unwrap();
        let failing = |file: &mut BufWriter<&mut File>| {
            file.write_all(&[0; 100_000])?;
            Err(io::Error::other("the pen broke"))
        };
        let error = write(&path, failing).unwrap_err();
        assert!(error.to_string().ends_with("a.txt: the pen broke"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
        assert!(write_new(dir.path().join("b.txt"), failing).is_err());
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn what_a_crash_left_goes_and_what_somebody_works_on_stays() {
        let dir = tempfile::tempdir().unwrap();
        let long_ago = std::time::SystemTime::now() - 2 * LEFT_OVER;
        for name in [".aB3dE6.incomplete", ".new123.incomplete", "notes.incomplete", ".notes.incomplete", "a.txt"] {
            let file = File::create(dir.path().join(name)).unwrap();
            if name != ".new123.incomplete" {
                file.set_modified(long_ago).unwrap();
            }
        }
        remove_leftovers(dir.path());
        let mut left = names(dir.path());
        left.sort();
        assert_eq!(left, [".new123.incomplete", ".notes.incomplete", "a.txt", "notes.incomplete"]);
        // These are the names that are made.
        let temporary = temporary_in(dir.path()).unwrap();
        temporary.as_file().set_modified(long_ago).unwrap();
        remove_leftovers(dir.path());
        assert!(!temporary.path().exists());
    }

    #[test]
    fn write_new_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_new(&path, |file| file.write_all(b"first")).unwrap();
        let again = write_new(&path, |file| file.write_all(b"second")).unwrap_err();
        // Nor does it if the file appears while the content is written.
        let late = dir.path().join("late.txt");
        let overtaken = write_new(&late, |_| std::fs::write(&late, "theirs")).unwrap_err();
        for error in [again, overtaken] {
            assert!(matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(std::fs::read_to_string(&late).unwrap(), "theirs");
    }

    #[test]
    fn directories_are_never_replaced_and_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        std::fs::create_dir(&sub).unwrap();
        assert!(write(&sub, |_| Ok(())).unwrap_err().to_string().ends_with("not a regular file"));
        assert!(matches!(write(dir.path().join("no/a.txt"), |_| Ok(())), Err(Error::Io { .. })));
        assert_eq!(names(dir.path()), ["sub"]);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (ours, plain) = (dir.path().join("ours"), dir.path().join("plain"));
        write(&ours, |_| Ok(())).unwrap();
        std::fs::write(&plain, "").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
