//! Writes a segmentation to files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_deeplab::segment::{Scores, Segmentation};
use candle_deeplab::{Error, atomic};

use super::plan::already_there;
use super::style::Style;
use super::target::{Destination, Encoding, Target};
use crate::args::Format;
use crate::interrupt;

/// What the outputs of one image are made from.
pub(super) struct Subject<'a> {
    pub(super) segmentation: &'a Segmentation,
    pub(super) scores: Option<&'a Scores>,
    /// The image's name in JSON documents.
    pub(super) shown: String,
    /// What was missing of the image.
    pub(super) damage: Option<&'a str>,
    /// The number that COCO's results call it by.
    pub(super) image_id: u64,
}

/// Writes an output; a file is written whole or not at all. It is no error if a reader closes standard output early.
pub(super) fn write(target: &Target, subject: &Subject, style: &Style) -> Result<()> {
    let path = match &target.to {
        Destination::File(path) => path,
        Destination::Frames(folder) => bail!("`{}` is a folder, and no frame of a video", folder.display()),
        Destination::Stdout => {
            let mut stdout = Noting { to: io::stdout().lock(), is_closed: false };
            let mut buffered = BufWriter::new(&mut stdout);
            let written = content(target, subject, style, &mut buffered).and_then(|()| buffered.flush());
            // Drops the buffer without another write: nobody reads it.
            drop(buffered.into_parts());
            return if stdout.is_closed { Ok(()) } else { written.context("cannot write to standard output") };
        }
    };
    make_folder_of(path)?;
    let _unfinished = interrupt::writing();
    let content = |file: &mut BufWriter<&mut File>| content(target, subject, style, file);
    let written = if style.replace { atomic::write(path, content) } else { atomic::write_new(path, content) };
    finished(written, path)
}

/// Remembers that the reader closed the pipe, since encoders replace the error by their own.
struct Noting<W> {
    to: W,
    is_closed: bool,
}

impl<W: Write> Write for Noting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes);
        self.is_closed |= written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.to.flush();
        self.is_closed |= flushed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        flushed
    }
}

/// Creates the folder of a file if it is missing.
pub(super) fn make_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), |folder| {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))
    })
}

/// Explains the error where another program created the file during the run.
fn finished(written: Result<(), Error>, path: &Path) -> Result<()> {
    match written {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{}", already_there(path, ""))
        }
        written => written.context("cannot write the output"),
    }
}

fn content(target: &Target, subject: &Subject, style: &Style, to: &mut dyn Write) -> io::Result<()> {
    let Subject { segmentation, scores, .. } = subject;
    let (map, labels) = (segmentation.label_map(), segmentation.labels());
    let picture_format = match target.encoding {
        Encoding::Picture(format) => format.with_quality(style.jpeg_quality),
        _ => candle_deeplab::pixels::PictureFormat::Png,
    };
    match target.format {
        Format::Overlay | Format::Color | Format::Contours => {
            let picture = style.picture(segmentation, target.format);
            picture_format.write(&picture, to).map_err(with_option)
        }
        Format::Cutout => {
            let picture = style.cutout(segmentation, *scores).map_err(io::Error::other)?;
            picture_format.write_transparent(&picture, to).map_err(with_option)
        }
        Format::Mask => map.write_mask(labels, to),
        Format::Ids => map.write_ids(to),
        Format::Json => match subject.damage {
            Some(damage) => map.write_json_of_damaged(labels, &subject.shown, damage, to),
            None => map.write_json(labels, &subject.shown, to),
        },
        Format::Rle => map.write_rle(labels, subject.image_id, scores.filter(|_| style.probs), to),
        Format::Geojson => map.write_geojson(labels, to),
        Format::Npy => match scores.filter(|_| style.probs) {
            Some(scores) => scores.write_npy(to),
            None => map.write_npy(to),
        },
    }
}

/// Names the option by which a picture that its format cannot hold is written in another.
fn with_option(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidInput => io::Error::new(error.kind(), format!("{error} with `--picture-format png`")),
        _ => error,
    }
}
