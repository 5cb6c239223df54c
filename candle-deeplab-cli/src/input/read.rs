//! From an input to its pixels.

use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use candle_deeplab::graph::Size;
use candle_deeplab::pixels::Encoded;
use image::RgbImage;
use tempfile::SpooledTempFile;

use super::iso::{IsoImage, iso_image};
use super::kinds::moves;
use super::source::{Input, Source, shown_url};
use crate::budget::{Budget, Claim};

/// The most that is read of standard input or from an address.
const MAX_BYTES: u64 = 512 << 20;

/// What is more than this of them waits on the disk.
const IN_MEMORY: usize = 16 << 20;

/// A picture, and the memory that it was given.
pub(crate) struct Photo<'a> {
    pub(crate) image: RgbImage,
    /// What is missing of it.
    pub(crate) damage: Option<String>,
    pub(crate) claim: Claim<'a>,
}

/// How pictures are read.
pub(crate) struct Reading<'a, F> {
    pub(crate) budget: &'a Budget,
    /// How many bytes a picture of a size takes after it has been read, with all that is made of it.
    pub(crate) kept: F,
    /// Damaged pictures are taken as far as they go.
    pub(crate) lenient: bool,
}

impl<'a, F: Fn(Size) -> u64> Reading<'a, F> {
    /// Reads and decodes an image, when there is memory for it.
    pub(crate) fn read(&self, input: &Input) -> Result<Photo<'a>> {
        match &input.source {
            Source::File(path) => match iso_image(&beginning(BufReader::new(candle_deeplab::file::open(path)?))) {
                Some(kind) => self.iso(kind, path),
                None => self.decode(Encoded::open(path)),
            },
            Source::Stdin => self.spooled(spool(io::stdin().lock(), "standard input")?, "standard input"),
            Source::Url(url) => self.spooled(fetch(url)?, &shown_url(url)),
            Source::Video(_) | Source::Camera(_) | Source::Stream(_) => bail!("it is a video"),
        }
    }

    /// Decodes what did not come from a file.
    fn spooled(&self, mut file: SpooledTempFile, name: &str) -> Result<Photo<'a>> {
        let again = "cannot read a temporary file again";
        let kind = iso_image(&beginning(&mut file));
        file.rewind().context(again)?;
        if let Some(kind) = kind {
            // ffmpeg wants a file with a name.
            let mut named = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
            io::copy(&mut file, &mut named).context("cannot write a temporary file")?;
            return self.iso(kind, named.path());
        }
        let is_moving = moves(BufReader::new(&mut file));
        file.rewind().context(again)?;
        ensure!(!is_moving, "{name}: it is a GIF that moves: save it as a file, which is segmented as a video");
        self.decode(Encoded::from_reader(BufReader::new(file), name))
    }

    fn iso(&self, kind: IsoImage, path: &Path) -> Result<Photo<'a>> {
        let picture = kind.open(path).context(READABLE)?;
        let (size, kept) = (picture.size(), (self.kept)(picture.size()));
        let mut claim = self.budget.claim(size, kept.max(picture.memory()))?;
        let image = picture.read().context(READABLE)?;
        claim.shrink(kept);
        Ok(Photo { image, damage: None, claim })
    }

    fn decode(&self, encoded: candle_deeplab::Result<Encoded>) -> Result<Photo<'a>> {
        let encoded = encoded.context(READABLE)?;
        if !self.lenient {
            encoded.whole().context("get the whole file, or add `--lenient`, which takes what is there")?;
        }
        let (size, kept) = (encoded.size(), (self.kept)(encoded.size()));
        let mut claim = self.budget.claim(size, kept.max(encoded.memory()))?;
        let decoded =
            if self.lenient { encoded.into_rgb8_lenient() } else { encoded.into_rgb8().map(|image| (image, None)) };
        let (image, damage) = decoded.context(READABLE)?;
        claim.shrink(kept);
        Ok(Photo { image, damage, claim })
    }
}

const READABLE: &str =
    "cannot read the image (JPEG, PNG, WebP, BMP, TIFF and GIF files can be read, and AVIF where ffmpeg is)";

/// The first bytes of a file; none where it cannot be read, which is then said by whoever reads it.
fn beginning(file: impl Read) -> Vec<u8> {
    let mut bytes = vec![];
    let read = file.take(256).read_to_end(&mut bytes);
    if read.is_ok() { bytes } else { vec![] }
}

/// Keeps what can be read only once.
fn spool(from: impl Read, name: &str) -> Result<SpooledTempFile> {
    let mut file = tempfile::spooled_tempfile(IN_MEMORY);
    let read = io::copy(&mut from.take(MAX_BYTES + 1), &mut file).with_context(|| format!("cannot read {name}"))?;
    ensure!(read <= MAX_BYTES, "{name} is larger than {} MiB", MAX_BYTES >> 20);
    file.flush().and_then(|()| file.rewind()).context("cannot write a temporary file")?;
    Ok(file)
}

/// The content of an address.
fn fetch(url: &str) -> Result<SpooledTempFile> {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_global(Some(Duration::from_secs(600)))
        .user_agent(concat!("candle-deeplab/", env!("CARGO_PKG_VERSION")))
        .build();
    let body = config.new_agent().get(url).call().map(|answer| answer.into_body()).map_err(anyhow::Error::from);
    let bytes = body.and_then(|body| spool(body.into_reader(), &shown_url(url)));
    bytes.with_context(|| format!("cannot fetch `{}`: does it open in a browser?", shown_url(url)))
}
