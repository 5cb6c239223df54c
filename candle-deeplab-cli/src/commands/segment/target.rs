//! A file that a run will write, with its format and encoding.

use std::path::{Path, PathBuf};

use crate::args::{Format, PictureFormat};
use crate::ffmpeg::{Container, Pixels};

/// One output of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) format: Format,
    pub(super) encoding: Encoding,
    pub(super) to: Destination,
}

/// How an output is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Picture(PictureFormat),
    /// Not a picture: the format has only one encoding.
    Data,
    Film(Container),
    /// One line for each frame.
    Lines,
}

/// Where an output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    File(PathBuf),
    /// A folder with one file for each frame.
    Frames(PathBuf),
    Stdout,
}

impl Target {
    /// The output's name in reports.
    pub(super) fn shown(&self) -> String {
        match &self.to {
            Destination::File(path) | Destination::Frames(path) => path.display().to_string(),
            Destination::Stdout => "-".into(),
        }
    }

    /// The file or folder; `None` for standard output.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.to {
            Destination::File(path) | Destination::Frames(path) => Some(path),
            Destination::Stdout => None,
        }
    }

    /// The file for a frame; `frame` counts from 1.
    pub(super) fn of_frame(&self, frame: u64) -> Self {
        let file = |folder: &PathBuf| folder.join(format!("{frame:06}.{}", suffix(self.format, self.encoding)));
        let to = match &self.to {
            Destination::Frames(folder) => Destination::File(file(folder)),
            other => other.clone(),
        };
        Self { to, ..*self }
    }

    /// Whether the output is binary data, which should not go to a terminal.
    pub(super) fn is_binary(&self) -> bool {
        !matches!(self.format, Format::Json | Format::Rle | Format::Geojson)
    }
}

/// What follows the input's name in the output's name.
pub(super) fn suffix(format: Format, encoding: Encoding) -> String {
    let extension = match (encoding, format) {
        (Encoding::Picture(picture), _) => picture.extension(),
        (Encoding::Film(container), _) => container.extension(),
        (Encoding::Lines, _) => return "jsonl".into(),
        (Encoding::Data, Format::Rle) => "json",
        (Encoding::Data, _) => return format.name().into(),
    };
    format!("{}.{extension}", format.name())
}

/// The picture formats that an output may have.
pub(super) fn pictures(format: Format) -> &'static [PictureFormat] {
    match format {
        Format::Overlay | Format::Color | Format::Contours => &PictureFormat::ALL,
        // JPEG has no transparency.
        Format::Cutout => &[PictureFormat::Png, PictureFormat::Webp],
        // Its palette and ids are read by programs, all of which read PNG.
        Format::Mask | Format::Ids => &[PictureFormat::Png],
        Format::Json | Format::Rle | Format::Geojson | Format::Npy => &[],
    }
}

/// The kind of frames in a video of an output; `None` if it cannot be a video.
pub(super) fn pixels(format: Format) -> Option<Pixels> {
    match format {
        Format::Overlay | Format::Color | Format::Contours => Some(Pixels::Rgb),
        Format::Cutout => Some(Pixels::Rgba),
        Format::Mask | Format::Ids => Some(Pixels::Gray),
        Format::Json | Format::Rle | Format::Geojson | Format::Npy => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_named_after_what_they_are() {
        let of = |format, encoding| suffix(format, encoding);
        assert_eq!(of(Format::Overlay, Encoding::Picture(PictureFormat::Jpeg)), "overlay.jpg");
        assert_eq!(of(Format::Cutout, Encoding::Film(Container::Webm)), "cutout.webm");
        assert_eq!(
            (of(Format::Json, Encoding::Data), of(Format::Json, Encoding::Lines)),
            ("json".into(), "jsonl".into())
        );
        assert_eq!(
            (of(Format::Rle, Encoding::Data), of(Format::Npy, Encoding::Data)),
            ("rle.json".into(), "npy".into())
        );
        let frames = Destination::Frames("film.frames".into());
        let target = Target { format: Format::Mask, encoding: Encoding::Picture(PictureFormat::Png), to: frames };
        assert_eq!(target.of_frame(7).shown().replace('\\', "/"), "film.frames/000007.mask.png");
        assert_eq!(target.of_frame(12_345_678).shown().replace('\\', "/"), "film.frames/12345678.mask.png");
    }
}
