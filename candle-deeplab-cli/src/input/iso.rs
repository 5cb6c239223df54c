//! Images in video containers: AVIF and HEIC.

use std::path::Path;

use anyhow::{Result, bail};

use crate::ffmpeg::Avif;

/// Images in video containers, which are compressed by video codecs (ISO/IEC 23008-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IsoImage {
    Avif,
    Heic,
}

impl IsoImage {
    /// Asks how large it is.
    pub(super) fn open(self, path: &Path) -> Result<Avif> {
        match self {
            Self::Avif => Avif::open(path),
            // A photograph consists of tiles, the first of which most versions of ffmpeg take for the whole.
            Self::Heic => bail!(
                "HEIC images cannot be read: make JPEGs of them, e.g. with `heif-convert photo.heic photo.jpg` (libheif), \
                 `magick photo.heic photo.jpg` (ImageMagick) or `sips -s format jpeg photo.heic --out photo.jpg` (macOS)"
            ),
        }
    }
}

/// Which of them a file is that begins so: the box `ftyp`, and in it the brands that the file conforms to.
pub(super) fn iso_image(beginning: &[u8]) -> Option<IsoImage> {
    let (length, rest) = beginning.split_first_chunk::<4>()?;
    let brands = rest.strip_prefix(b"ftyp")?;
    let length = (u32::from_be_bytes(*length) as usize).saturating_sub(8).min(brands.len());
    let has = |known: &[&[u8]]| brands[..length].chunks_exact(4).any(|brand| known.contains(&brand));
    if has(&[b"avif", b"avis"]) {
        return Some(IsoImage::Avif);
    }
    let is_heic = has(&[b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"]);
    is_heic.then_some(IsoImage::Heic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_in_the_containers_of_films_are_told_by_their_brands() {
        let file =
            |brands: &str| [&(brands.len() as u32 + 8).to_be_bytes()[..], b"ftyp", brands.as_bytes(), b"mif1"].concat();
        assert_eq!(iso_image(&file("avif\0\0\0\0mif1miaf")), Some(IsoImage::Avif));
        assert_eq!(iso_image(&file("mif1\0\0\0\0avifmiaf")), Some(IsoImage::Avif));
        assert_eq!(iso_image(&file("heic\0\0\0\0mif1heic")), Some(IsoImage::Heic));
        // What follows the box is no brand.
        assert_eq!(iso_image(&file("isom\0\0\0\0mp42")), None);
        assert_eq!(
            (iso_image(b""), iso_image(b"\0\0\0\x20ftyp"), iso_image(b"\xff\xff\xff\xffftypheic")),
            (None, None, Some(IsoImage::Heic))
        );
        let said = IsoImage::Heic.open(Path::new("x.heic")).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("heif-convert"), "{said}");
    }
}
