//! `candle-deeplab demo`: the first picture, with nothing but this program.

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_deeplab::{Error, atomic};

use super::segment;
use crate::args::DemoArgs;
use crate::exit::Exit;

/// Chelsea the cat (CC0): `examples/photos` says where it comes from.
const PHOTO: &[u8] = include_bytes!("../../assets/cat.jpg");

pub(crate) fn run(args: &DemoArgs) -> Result<Exit> {
    let shown = args.output.display();
    std::fs::create_dir_all(&args.output).with_context(|| format!("cannot make the folder `{shown}`"))?;
    // The whole path, so that the picture is found from wherever somebody looks for it.
    let folder = args.output.canonicalize().with_context(|| format!("cannot use the folder `{shown}`"))?;
    let photo = folder.join("cat.jpg");
    put(&photo, args.force)?;
    segment::run(args.segment(&photo, &folder)?)
}

/// Writes the photograph, unless it is there already.
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
