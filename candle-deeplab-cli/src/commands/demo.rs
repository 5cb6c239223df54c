//! `candle-deeplab demo`: the first picture, with nothing but this program.

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_deeplab::{Error, atomic};

use super::segment;
use crate::args::DemoArgs;
use crate::exit::Exit;

/// Chelsea the cat (CC0); `examples/photos` has the source.
const PHOTO: &[u8] = include_bytes!("../../assets/cat.jpg");

pub(crate) fn run(args: &DemoArgs) -> Result<Exit> {
    let shown = args.output.display();
    std::fs::create_dir_all(&args.output).with_context(|| format!("cannot make the folder `{shown}`"))?;
    // An absolute path, so that the printed names work from any folder.
    let folder = args.output.canonicalize().with_context(|| format!("cannot use the folder `{shown}`"))?;
    let photo = folder.join("cat.jpg");
    put(&photo, args.force)?;
    segment::run(args.segment(&photo, &folder)?)
}

/// Writes the photograph unless the same file is already there.
fn put(photo: &Path, replace: bool) -> Result<()> {
    let shown = photo.display();
    if std::fs::read(photo).is_ok_and(|there| there == PHOTO) {
        return Ok(());
    }
    let written = match replace {
        true => atomic::write(photo, |file| file.write_all(PHOTO)),
        false => atomic::write_new(photo, |file| file.write_all(PHOTO)),
    };
    match written {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
            bail!(
                "`{shown}` exists and is another picture: replace it with `--force`, or choose another folder with `-o`"
            )
        }
        written => written.with_context(|| format!("cannot write `{shown}`")),
    }
}
