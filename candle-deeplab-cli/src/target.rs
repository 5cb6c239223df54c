//! An output file that an option names.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_deeplab::{Error, atomic};

/// An output file that can be written.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    path: &'a Path,
    replace: bool,
    /// The option that names the file, for messages.
    option: &'static str,
}

impl<'a> Target<'a> {
    /// Checks the path, before anything that takes time.
    pub(crate) fn new(path: &'a Path, replace: bool, option: &'static str) -> Result<Self> {
        let (this, shown) = (Self { path, replace, option }, path.display());
        ensure!(!path.is_dir() && path.file_name().is_some(), "`{shown}` is a folder: name a file with `{option}`");
        ensure!(replace || path.symlink_metadata().is_err(), "{}", this.already_there());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        ensure!(
            folder.is_dir(),
            "the folder `{}` does not exist: make it, or name another with `{option}`",
            folder.display()
        );
        Ok(this)
    }

    /// Writes all or nothing. A file that another program has created meanwhile is not replaced without `replace`
    /// either.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        let content = |file: &mut BufWriter<&mut File>| file.write_all(bytes);
        match if self.replace { atomic::write(self.path, content) } else { atomic::write_new(self.path, content) } {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                bail!("{}", self.already_there())
            }
            written => written.with_context(|| format!("cannot write `{}`", self.path.display())),
        }
    }

    fn already_there(&self) -> String {
        let (path, option) = (self.path.display(), self.option);
        format!("`{path}` exists: replace it with `--force`, or choose another file with `{option}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_replaced_unasked_before_or_after_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.bin");
        let target = Target::new(&path, false, "-o").unwrap();
        target.write(b"first").unwrap();
        for refused in [target.write(b"second"), Target::new(&path, false, "-o").map(|_| ())] {
            let said = refused.unwrap_err().to_string();
            assert!(said.contains("out.bin") && said.contains("--force") && said.contains("`-o`"), "{said}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        Target::new(&path, true, "-o").unwrap().write(b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_can_be_no_file_is_said() {
        let dir = tempfile::tempdir().unwrap();
        for (path, reason) in [(dir.path().to_owned(), "is a folder"), (dir.path().join("no/x"), "does not exist")] {
            for replace in [false, true] {
                let said = Target::new(&path, replace, "--save-mask").unwrap_err().to_string();
                assert!(said.contains(reason) && said.contains("`--save-mask`"), "{said}");
            }
        }
    }
}
