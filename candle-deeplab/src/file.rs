//! Opens and reads files whose paths come from users.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Opens a regular file for reading. Other files are refused: opening a pipe would block, and a device may never end.
///
/// # Errors
/// [`Error::Io`] with the path, also where it is not a regular file.
pub fn open(path: &Path) -> Result<File> {
    let regular = std::fs::metadata(path).map_err(Error::io(path))?.is_file();
    if !regular {
        return Err(Error::io(path)(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file")));
    }
    File::open(path).map_err(Error::io(path))
}

/// The text of a file of at most `limit` bytes; `None` where it has more.
///
/// # Errors
/// As [`open`], and where the text is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<Option<String>> {
    let mut text = String::new();
    open(path)?.take(limit + 1).read_to_string(&mut text).map_err(Error::io(path))?;
    Ok((text.len() as u64 <= limit).then_some(text))
}

/// Fills `bytes` from an offset in a file. Several threads may read the same file at once.
pub(crate) fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset);
    #[cfg(windows)]
    {
        let mut done = 0;
        while done < bytes.len() {
            match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => done += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
    #[cfg(not(any(unix, windows)))]
    {
        use std::io::Seek;
        static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (&*file).seek(io::SeekFrom::Start(offset))?;
        (&*file).read_exact(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_up_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read_text(&path, 4).unwrap().as_deref(), Some("four"));
        assert_eq!(read_text(&path, 3).unwrap(), None);
    }

    #[test]
    fn a_place_in_a_file_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "0123456789").unwrap();
        let (file, mut bytes) = (open(&path).unwrap(), [0; 4]);
        std::thread::scope(|scope| {
            for (offset, text) in [(6, b"6789"), (0, b"0123"), (3, b"3456")] {
                let file = &file;
                scope.spawn(move || {
                    for _ in 0..100 {
                        let mut bytes = [0; 4];
                        read_exact_at(file, &mut bytes, offset).unwrap();
                        assert_eq!(&bytes, text);
                    }
                });
            }
        });
        assert_eq!(read_exact_at(&file, &mut bytes, 7).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = vec![dir.path().to_owned()];
        if cfg!(unix) {
            // It never ends, and its size is 0.
            paths.push("/dev/zero".into());
        }
        for path in paths {
            assert!(open(&path).unwrap_err().to_string().ends_with("is not a regular file"));
        }
    }
}
