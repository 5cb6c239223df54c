//! Regular files, and nothing else that somebody may have put in their place: a link would be written through, a named
//! pipe waited for, and a device read without an end.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Opens a regular file for reading. Links are followed, since the cache is made of them; what they lead to must be a
/// regular file.
///
/// # Errors
/// Those of the system; [`ErrorKind::InvalidInput`], saying what it is, for anything but a regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    must_be_regular(&std::fs::metadata(path)?)?;
    let file = without_waiting(OpenOptions::new().read(true), true).open(path)?;
    // It may be another one by now.
    must_be_regular(&file.metadata()?)?;
    Ok(file)
}

/// The text of a regular file of at most `limit` bytes that is no link; `None` where there is no file.
///
/// # Errors
/// As [`open`], and for a text that is too long or not UTF-8.
pub(crate) fn read_small(path: &Path, limit: u64) -> io::Result<Option<String>> {
    let file = match path.symlink_metadata() {
        Ok(metadata) => {
            must_be_regular(&metadata)?;
            without_waiting(OpenOptions::new().read(true), false).open(path)
        }
        Err(error) => Err(error),
    };
    let file = match file {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    must_be_regular(&file.metadata()?)?;
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {limit} bytes")));
    }
    Ok(Some(text))
}

/// Whether a file may be put there: there is none, or a regular one that is no link.
///
/// # Errors
/// As [`open`].
pub(crate) fn check(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) => must_be_regular(&metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a folder in another one that is there, unless it is there already.
///
/// # Errors
/// Those of the system; [`ErrorKind::InvalidInput`], saying what it is, for a link or anything else but a folder.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match path.symlink_metadata()? {
            there if there.is_dir() => Ok(()),
            there => Err(wrong(&format!("it is {}, not a folder", kind(there.file_type())))),
        },
        made => made,
    }
}

/// Opens a regular file that is no link for reading and writing, and makes it where it is missing. Its content stays.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    check(path)?;
    let mut options = OpenOptions::new();
    let file = without_waiting(options.create(true).truncate(false).read(true).write(true), false).open(path)?;
    must_be_regular(&file.metadata()?)?;
    Ok(file)
}

/// As [`open_or_create`], for a file whose content is to be replaced: it must have no other name, under which its
/// content may be somebody's.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_to_write(path: &Path) -> io::Result<File> {
    let file = open_or_create(path)?;
    match has_other_names(&file.metadata()?) {
        true => Err(wrong("it is a file that has another name, too (a hard link)")),
        false => Ok(file),
    }
}

fn must_be_regular(metadata: &Metadata) -> io::Result<()> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(wrong(&format!("it is {}, not a regular file", kind(metadata.file_type())))),
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("{what}: remove it, and run the command again"))
}

#[cfg(unix)]
fn kind(of: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if of.is_symlink() {
        "a link"
    } else if of.is_file() {
        "a file"
    } else if of.is_dir() {
        "a folder"
    } else if of.is_fifo() {
        "a named pipe"
    } else if of.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn kind(of: FileType) -> &'static str {
    match of {
        of if of.is_symlink() => "a link",
        of if of.is_dir() => "a folder",
        _ => "something else",
    }
}

/// What takes the place of the file after it was looked at is not waited for, and not followed where it is a link.
#[cfg(unix)]
fn without_waiting(options: &mut OpenOptions, follow: bool) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let nofollow = if follow { 0 } else { libc::O_NOFOLLOW };
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | nofollow)
}

#[cfg(not(unix))]
fn without_waiting(options: &mut OpenOptions, _follow: bool) -> &mut OpenOptions {
    options
}

#[cfg(unix)]
fn has_other_names(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) > 1
}

#[cfg(not(unix))]
fn has_other_names(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_text_is_read_up_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        assert_eq!(read_small(&path, 4).unwrap(), None);
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read_small(&path, 4).unwrap().as_deref(), Some("four"));
        assert_eq!(read_small(&path, 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_two_names_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("file"), dir.path().join("other"));
        std::fs::write(&file, "content").unwrap();
        assert!(open_to_write(&file).is_ok());
        std::fs::hard_link(&file, &other).unwrap();
        assert!(open_to_write(&other).unwrap_err().to_string().contains("hard link"));
        assert!(open_or_create(&other).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, pipe) = (dir.path().join("file"), dir.path().join("link"), dir.path().join("pipe"));
        std::fs::write(&file, "content").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let folder = dir.path().to_owned();
        type Open = fn(&Path) -> io::Result<()>;
        let reading: Open = |path| open(path).map(drop);
        let small: Open = |path| read_small(path, 10).map(drop);
        let writing: Open = |path| open_or_create(path).map(drop);
        for (open, path, says) in [
            (reading, &pipe, "a named pipe"),
            (small, &pipe, "a named pipe"),
            (writing, &pipe, "a named pipe"),
            (reading, &folder, "a folder"),
            (small, &folder, "a folder"),
            (writing, &folder, "a folder"),
            (reading, &"/dev/zero".into(), "a device"),
            (small, &link, "a link"),
            (writing, &link, "a link"),
        ] {
            let error = open(path).unwrap_err().to_string();
            assert!(error.contains(&format!("it is {says}, not a regular file: remove it")), "{path:?}: {error}");
        }
        assert!(open(&link).is_ok());
        // Where the first look was too early, the system and the second look refuse.
        let raced = without_waiting(OpenOptions::new().write(true), false).open(&link).unwrap_err();
        assert_eq!(raced.raw_os_error(), Some(libc::ELOOP));
        let raced = without_waiting(OpenOptions::new().read(true), true).open(&pipe).unwrap();
        assert!(must_be_regular(&raced.metadata().unwrap()).is_err());
    }
}
