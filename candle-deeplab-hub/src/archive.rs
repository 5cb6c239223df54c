//! Extracts one file of an archive. The archive is read as a stream, and no other file of it is written to the disk.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, EntryType};

use super::hub::{open_plain, unwritable_at};
use crate::error::{Error, Result};

/// The first bytes of a `.gz` file.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// An archive of models has a dozen files.
const MAX_ENTRIES: usize = 10_000;
/// The largest published tarball holds less than a tenth of this.
const MAX_UNPACKED: u64 = 8 << 30;
/// The file to extract if the caller names none.
pub(super) const USUAL_MEMBER: &str = "frozen_inference_graph.pb";

/// Whether a file is an archive that can be read here, i.e. a `.tar.gz`.
pub(super) fn is_archive(path: &Path) -> Result<bool> {
    let mut head = [0; 2];
    let file = open_plain(path).map_err(Error::io(path))?;
    let read = file.take(2).read(&mut head).map_err(Error::io(path))?;
    Ok(read == 2 && head == GZIP)
}

/// Writes the member whose file name is `wanted` into `folder`, and returns its path there.
pub(super) fn extract(archive: &Path, wanted: &str, folder: &Path) -> Result<PathBuf> {
    let bad = |reason: String| Error::Archive { path: archive.to_owned(), reason };
    let damaged =
        |error: io::Error| bad(format!("the archive is damaged ({error}): delete it and run the command again"));
    let file = open_plain(archive).map_err(Error::io(archive))?;
    let unpacked = Limited { inner: MultiGzDecoder::new(BufReader::new(file)), left: MAX_UNPACKED };
    let mut tar = Archive::new(unpacked);
    let mut seen = vec![];
    // Raw entries: long names, which a tar file stores in entries of their own, are not read into memory.
    let entries = tar.entries().map_err(damaged)?.raw(true);
    for (number, entry) in entries.enumerate() {
        let mut entry = entry.map_err(damaged)?;
        if number >= MAX_ENTRIES {
            return Err(bad(format!("it has more than {MAX_ENTRIES} files: refused")));
        }
        let plain = matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous);
        let name = entry.path_bytes();
        let name = String::from_utf8_lossy(name.rsplit(|byte| *byte == b'/').next().unwrap_or_default()).into_owned();
        if !plain || name.is_empty() {
            continue;
        }
        if name != wanted {
            if seen.len() < 20 {
                seen.push(name.escape_debug().to_string());
            }
            continue;
        }
        let path = folder.join(wanted);
        let mut out = File::create(&path).map_err(unwritable_at(&path))?;
        copy(&mut entry, &mut out).map_err(|error| match error {
            Copy::Read(error) => damaged(error),
            Copy::Write(error) => unwritable_at(&path)(error),
        })?;
        return Ok(path);
    }
    Err(bad(format!("it has no `{wanted}`, but {}", if seen.is_empty() { "nothing".into() } else { seen.join(", ") })))
}

enum Copy {
    Read(io::Error),
    Write(io::Error),
}

fn copy(from: &mut impl Read, to: &mut impl io::Write) -> std::result::Result<(), Copy> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer).map_err(Copy::Read)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read]).map_err(Copy::Write)?,
        }
    }
}

/// A stream that ends with an error after a number of bytes: a small archive may unpack to a huge one.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, format!("it unpacks to more than {} GiB", MAX_UNPACKED >> 30))
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    use super::*;

    fn tar_gz(path: &Path, with: impl FnOnce(&mut Builder<GzEncoder<File>>)) {
        let mut builder = Builder::new(GzEncoder::new(File::create(path).unwrap(), Compression::fast()));
        with(&mut builder);
        builder.into_inner().unwrap().finish().unwrap();
    }

    fn add(builder: &mut Builder<GzEncoder<File>>, name: &str, content: &[u8]) {
        let mut header = Header::new_gnu();
        // Written by hand, since the crate refuses names with `..`.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }

    #[test]
    fn one_member_is_kept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (archive, out) = (dir.path().join("a.tar.gz"), dir.path().join("out"));
        std::fs::create_dir(&out).unwrap();
        tar_gz(&archive, |tar| {
            add(tar, "model/checkpoint", b"x");
            add(tar, "../../frozen_graph.pb", b"the graph");
            add(tar, "../evil", b"x");
        });
        assert!(is_archive(&archive).unwrap());
        let path = extract(&archive, "frozen_graph.pb", &out).unwrap();
        assert_eq!(path, out.join("frozen_graph.pb"));
        assert_eq!(std::fs::read(path).unwrap(), b"the graph");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        let missing = extract(&archive, "other.pb", &out).unwrap_err().to_string();
        assert!(missing.ends_with("it has no `other.pb`, but checkpoint, frozen_graph.pb, evil"), "{missing}");
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar.gz");
        tar_gz(&archive, |tar| {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, "graph.pb", "/etc/passwd").unwrap();
        });
        assert!(extract(&archive, "graph.pb", dir.path()).unwrap_err().to_string().contains("it has no `graph.pb`"));
    }

    #[test]
    fn what_is_cut_off_or_no_archive_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar.gz");
        let noise: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        tar_gz(&archive, |tar| add(tar, "graph.pb", &noise));
        let whole = std::fs::read(&archive).unwrap();
        for content in [&whole[..whole.len() / 2], &whole[..30], b"\x1f\x8bnot gzip at all"] {
            std::fs::write(&archive, content).unwrap();
            let error = extract(&archive, "graph.pb", dir.path()).unwrap_err().to_string();
            assert!(error.contains("the archive is damaged"), "{error}");
        }
    }

    #[test]
    fn a_bomb_ends() {
        let mut bomb = Limited { inner: io::repeat(0), left: 1 << 20 };
        let error = io::copy(&mut bomb, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("GiB"));
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar.gz");
        tar_gz(&archive, |tar| (0..=MAX_ENTRIES).for_each(|_| add(tar, "x", b"")));
        let error = extract(&archive, "graph.pb", dir.path()).unwrap_err().to_string();
        assert!(error.contains("more than 10000 files"), "{error}");
        // A long name, which would have to be read into memory.
        tar_gz(&archive, |tar| {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::GNULongName);
            header.set_size(1 << 24);
            header.set_cksum();
            tar.append(&header, io::repeat(b'a').take(1 << 24)).unwrap();
            tar.get_mut().flush().unwrap();
            add(tar, "graph.pb", b"g");
        });
        assert!(extract(&archive, "graph.pb", dir.path()).is_ok());
    }
}
