//! From a segmentation to files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_deeplab::segment::{Scores, Segmentation};
use candle_deeplab::{Error, atomic};
use image::codecs::png::PngEncoder;
use image::{ImageEncoder, ImageResult, RgbImage};

use super::plan::{Target, already_there};
use super::style::Style;
use crate::args::Format;
use crate::exit;
use crate::input::Input;
use crate::interrupt;

/// Writes an output, whole or not at all.
pub(super) fn write(
    target: &Target,
    input: &Input,
    segmentation: &Segmentation,
    scores: Option<&Scores>,
    style: &Style,
) -> Result<()> {
    if let Some(folder) = target.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    }
    if target.format == Format::Cutout && scores.is_none() {
        let image = input.shown();
        exit::say(&format!("{image}: the cutout has a hard edge, since the probabilities would not fit into memory"));
    }
    let name = || input.relative.file_stem().unwrap_or_default().to_string_lossy();
    let content = |file: &mut BufWriter<&mut File>| match target.format {
        Format::Overlay | Format::Color | Format::Contours => png(&style.picture(segmentation, target.format), file),
        Format::Cutout => {
            let picture = style.cutout(segmentation, scores).map_err(io::Error::other)?;
            let encoder = PngEncoder::new(file);
            let (width, height) = picture.dimensions();
            written(encoder.write_image(picture.as_raw(), width, height, image::ExtendedColorType::Rgba8))
        }
        Format::Mask => segmentation.write_mask(file),
        Format::Ids => segmentation.write_ids(file),
        Format::Json => segmentation.write_json(file, &input.shown()),
        Format::Rle => segmentation.write_rle(file, &name()),
        Format::Geojson => segmentation.write_geojson(file),
        Format::Npy => match scores.filter(|_| style.probs) {
            Some(scores) => scores.write_npy(file),
            None => segmentation.write_npy(file),
        },
    };
    let _unfinished = interrupt::writing();
    let written =
        if style.replace { atomic::write(&target.path, content) } else { atomic::write_new(&target.path, content) };
    finished(written, &target.path)
}

/// Says so where a file was not there when we began.
fn finished(written: Result<(), Error>, path: &Path) -> Result<()> {
    match written {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{}", already_there(path, ""))
        }
        written => written.context("cannot write the output"),
    }
}

fn png(picture: &RgbImage, to: impl Write) -> io::Result<()> {
    written(picture.write_with_encoder(PngEncoder::new(to)))
}

fn written(result: ImageResult<()>) -> io::Result<()> {
    result.map_err(|error| match error {
        image::ImageError::IoError(error) => error,
        other => io::Error::other(other),
    })
}
