//! What files are, by their names and their first bytes.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::source::{Source, name_of};
use crate::args::{Format, PictureFormat};
use crate::ffmpeg::Container;

/// The extensions of images in a folder.
pub(super) const IMAGES: [&str; 12] =
    ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "dib", "gif", "avif", "heic", "heif"];

/// The extensions of videos in a folder. A GIF of several frames is one, too.
pub(super) const VIDEOS: [&str; 11] = ["mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "wmv", "flv", "ogv"];

pub(super) fn has_extension(path: &Path, known: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    known.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Whether a GIF has more than one frame.
pub(super) fn moves(gif: impl Read) -> bool {
    let mut options = gif::DecodeOptions::new();
    options.skip_frame_decoding(true);
    let Ok(mut frames) = options.read_info(gif) else { return false };
    let mut more = || matches!(frames.next_frame_info(), Ok(Some(_)));
    more() && more()
}

/// What a file is, by its name.
pub(super) fn of_file(path: PathBuf) -> Source {
    let is_video = has_extension(&path, &VIDEOS)
        || has_extension(&path, &["gif"])
            && candle_deeplab::file::open(&path).is_ok_and(|file| moves(BufReader::new(file)));
    if is_video { Source::Video(path) } else { Source::File(path) }
}

/// The name of the input that an output of this program was made from, such as `photo` for `photo.overlay.jpg`; `None` for
/// other names. Outputs are not inputs of the next run.
pub(super) fn original_of_ours(path: &Path) -> Option<&str> {
    let (rest, extension) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let (original, format) = rest.rsplit_once('.')?;
    let is_format = Format::VISIBLE.iter().any(|known| known.name() == format);
    let is_known = PictureFormat::of_extension(extension).is_some() || Container::of_extension(extension).is_some();
    (is_format && is_known && !original.is_empty()).then_some(original)
}

pub(super) fn is_camera(path: &Path, found: &std::fs::Metadata) -> bool {
    !found.is_file() && path.starts_with("/dev") && name_of(path).to_string_lossy().starts_with("video")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gif_is_a_film_if_it_moves() {
        let gif = |frames: usize| {
            let mut bytes = vec![];
            let mut encoder = gif::Encoder::new(&mut bytes, 2, 2, &[0, 0, 0, 255, 255, 255]).unwrap();
            for _ in 0..frames {
                encoder
                    .write_frame(&gif::Frame {
                        width: 2,
                        height: 2,
                        buffer: vec![0u8, 1, 1, 0].into(),
                        ..Default::default()
                    })
                    .unwrap();
            }
            drop(encoder);
            bytes
        };
        let dir = tempfile::tempdir().unwrap();
        for (frames, is_film) in [(1, false), (2, true), (5, true)] {
            let path = dir.path().join(format!("{frames}.gif"));
            std::fs::write(&path, gif(frames)).unwrap();
            assert_eq!(matches!(of_file(path), Source::Video(_)), is_film, "{frames}");
            assert_eq!(moves(&gif(frames)[..]), is_film, "{frames}");
        }
        assert!(!moves(&gif(2)[..30]) && !moves(&b"GIF89a"[..]) && !moves(&b""[..]));
    }
}
