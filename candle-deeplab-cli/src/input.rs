//! Finds the inputs that the arguments name, and reads images.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use image::DynamicImage;
use walkdir::WalkDir;

use crate::args::{Format, PictureFormat};
use crate::ffmpeg::{self, Container};

/// The extensions of images in a folder.
const IMAGES: [&str; 12] = ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "dib", "gif", "avif", "heic", "heif"];

/// The extensions of videos in a folder. An animated GIF is a video, too.
const VIDEOS: [&str; 11] = ["mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "wmv", "flv", "ogv"];

/// The extensions of playlists at an address: they list the parts of a video.
const PLAYLISTS: [&str; 2] = ["m3u8", "mpd"];

/// The schemes of streams.
const STREAMS: [&str; 8] = ["rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt"];

/// The most bytes that are read from standard input or an address.
const MAX_BYTES: u64 = 512 << 20;

/// Where an image or a video comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    File(PathBuf),
    Stdin,
    Url(String),
    Video(PathBuf),
    Camera(PathBuf),
    /// The address of a video or of a live stream.
    Stream(String),
}

/// Something to segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) source: Source,
    /// The path below the folder or pattern that found it; the name alone if it was given itself.
    pub(crate) relative: PathBuf,
    /// Whether it was given itself, not found in a folder or by a pattern.
    pub(crate) named: bool,
}

impl Input {
    fn named(source: Source, relative: impl Into<PathBuf>) -> Self {
        Self { source, relative: relative.into(), named: true }
    }

    fn found(path: PathBuf, relative: PathBuf) -> Self {
        Self { source: of_file(path), relative, named: false }
    }

    /// The name in messages.
    pub(crate) fn shown(&self) -> String {
        match &self.source {
            Source::File(path) | Source::Video(path) | Source::Camera(path) => path.display().to_string(),
            Source::Stdin => "standard input".into(),
            Source::Url(url) | Source::Stream(url) => shown_url(url),
        }
    }

    /// The local file, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) | Source::Video(path) => Some(path),
            Source::Stdin | Source::Url(_) | Source::Camera(_) | Source::Stream(_) => None,
        }
    }

    pub(crate) fn is_moving(&self) -> bool {
        matches!(self.source, Source::Video(_) | Source::Camera(_) | Source::Stream(_))
    }

    /// Whether the name has a JPEG's extension.
    pub(crate) fn is_jpeg(&self) -> bool {
        !self.is_moving() && has_extension(&self.relative, &["jpg", "jpeg"])
    }

    /// Reads and decodes an image.
    pub(crate) fn image(&self) -> Result<DynamicImage> {
        const READABLE: &str =
            "cannot read the image (JPEG, PNG, WebP, BMP, TIFF and GIF files can be read, and AVIF where ffmpeg is)";
        let image = match &self.source {
            Source::File(path) => match iso_image(&beginning(path)) {
                Some(kind) => return kind.decode(path).context(READABLE),
                None => candle_deeplab::pixels::open(path),
            },
            Source::Stdin => return decode(&stdin()?, "standard input").context(READABLE),
            Source::Url(url) => return decode(&fetch(url)?, &shown_url(url)).context(READABLE),
            Source::Video(_) | Source::Camera(_) | Source::Stream(_) => bail!("it is a video"),
        };
        image.context(READABLE)
    }
}

/// Decodes an image that did not come from a local file.
fn decode(bytes: &[u8], name: &str) -> Result<DynamicImage> {
    if let Some(kind) = iso_image(bytes) {
        // ffmpeg needs a file in which it can seek.
        let mut file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
        file.write_all(bytes).context("cannot write a temporary file")?;
        return kind.decode(file.path());
    }
    ensure!(!moves(bytes), "{name}: it is a GIF that moves: save it as a file, which is segmented as a video");
    Ok(candle_deeplab::pixels::from_bytes(bytes, name)?)
}

/// Images in a container of videos, encoded as a video's frame is (ISO/IEC 23008-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IsoImage {
    Avif,
    Heic,
}

impl IsoImage {
    fn decode(self, path: &Path) -> Result<DynamicImage> {
        match self {
            Self::Avif => Ok(ffmpeg::avif(path)?.into()),
            // The image consists of tiles, and most versions of ffmpeg return only the first.
            Self::Heic => bail!(
                "HEIC images cannot be read: make JPEGs of them, e.g. with `heif-convert photo.heic photo.jpg` (libheif), \
                 `magick photo.heic photo.jpg` (ImageMagick) or `sips -s format jpeg photo.heic --out photo.jpg` (macOS)"
            ),
        }
    }
}

/// Which of the two a file is, from its first bytes: the box `ftyp` lists the brands that the file conforms to.
fn iso_image(beginning: &[u8]) -> Option<IsoImage> {
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

/// A file's first bytes. They are empty if it cannot be read; reading the image then reports this.
fn beginning(path: &Path) -> Vec<u8> {
    let mut bytes = vec![];
    let read = File::open(path).and_then(|file| file.take(256).read_to_end(&mut bytes));
    if read.is_ok() { bytes } else { vec![] }
}

/// Whether a GIF has several frames.
fn moves(gif: impl Read) -> bool {
    let mut options = gif::DecodeOptions::new();
    options.skip_frame_decoding(true);
    let Ok(mut frames) = options.read_info(gif) else { return false };
    let mut more = || matches!(frames.next_frame_info(), Ok(Some(_)));
    more() && more()
}

/// The kind of a file, from its name.
fn of_file(path: PathBuf) -> Source {
    let is_video = has_extension(&path, &VIDEOS)
        || has_extension(&path, &["gif"]) && File::open(&path).is_ok_and(|file| moves(BufReader::new(file)));
    if is_video { Source::Video(path) } else { Source::File(path) }
}

fn stdin() -> Result<Vec<u8>> {
    let mut bytes = vec![];
    io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes).context("cannot read standard input")?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "standard input is larger than {} MiB", MAX_BYTES >> 20);
    Ok(bytes)
}

/// Downloads an address.
pub(crate) fn fetch(url: &str) -> Result<Vec<u8>> {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_global(Some(Duration::from_secs(600)))
        .user_agent(concat!("candle-deeplab/", env!("CARGO_PKG_VERSION")))
        .build();
    let body = config.new_agent().get(url).call().map(|answer| answer.into_body());
    let bytes = body.and_then(|mut body| body.with_config().limit(MAX_BYTES).read_to_vec());
    bytes.with_context(|| format!("cannot fetch `{url}`: does it open in a browser?"))
}

/// The inputs, and messages about files that were left out.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) inputs: Vec<Input>,
    pub(crate) left_out: Vec<String>,
}

/// Finds the inputs that the arguments name, in the arguments' order; those of a folder or pattern are sorted by name.
/// An input that is named twice is taken once. `except`, the output folder, is not searched.
///
/// A shell expands `*.jpg` to outputs of this program, too: photo.overlay.jpg is left out if photo.jpg is also given.
pub(crate) fn expand(arguments: &[PathBuf], except: Option<&Path>) -> Result<Inputs> {
    let except = except.and_then(|dir| dir.canonicalize().ok());
    let (mut inputs, mut known) = (vec![], HashSet::new());
    for argument in arguments {
        let found = expand_one(argument, except.as_deref())?;
        inputs.extend(found.into_iter().filter(|input| known.insert(input.source.clone())));
    }
    let names: HashSet<PathBuf> = inputs
        .iter()
        .flat_map(|input| [name_of(&input.relative), name_of(&input.relative.with_extension(""))])
        .collect();
    let made_of_another = |input: &Input| {
        input.path().and_then(original_of_ours).is_some_and(|original| names.contains(Path::new(original)))
    };
    let (ours, inputs): (Vec<Input>, Vec<Input>) = inputs.into_iter().partition(made_of_another);
    let left_out =
        ours.iter().map(|input| format!("`{}` is left out: this program made it of another input", input.shown()));
    Ok(Inputs { inputs, left_out: left_out.collect() })
}

fn expand_one(argument: &Path, except: Option<&Path>) -> Result<Vec<Input>> {
    let text = argument.to_str().unwrap_or_default();
    let shown = argument.display();
    if text == "-" {
        return Ok(vec![Input::named(Source::Stdin, "stdin")]);
    }
    if let Some(source) = of_address(text) {
        let name = name_of_url(text, if matches!(source, Source::Url(_)) { "image" } else { "stream" });
        return Ok(vec![Input::named(source, name)]);
    }
    match std::fs::metadata(argument) {
        Ok(found) if found.is_dir() => {
            let inputs = walk(argument, argument, except)?;
            ensure!(
                !inputs.is_empty(),
                "there are no images and no videos in `{shown}` ({}, {})",
                IMAGES.join(", "),
                VIDEOS.join(", ")
            );
            Ok(inputs)
        }
        Ok(found) if is_camera(argument, &found) => {
            Ok(vec![Input::named(Source::Camera(argument.into()), name_of(argument))])
        }
        Ok(_) => Ok(vec![Input::named(of_file(argument.into()), name_of(argument))]),
        Err(_) if text.contains(['*', '?', '[']) => expand_pattern(text, except),
        Err(error) => Err(error).with_context(|| format!("there is no input `{shown}`")),
    }
}

/// The source at an address: an image, or a video or stream that ffmpeg reads.
fn of_address(text: &str) -> Option<Source> {
    let (scheme, _) = text.split_once("://")?;
    if STREAMS.contains(&scheme) {
        return Some(Source::Stream(text.into()));
    }
    if !["http", "https"].contains(&scheme) {
        return None;
    }
    let name = name_of_url(text, "");
    let is_film = has_extension(&name, &VIDEOS) || has_extension(&name, &PLAYLISTS);
    Some(if is_film { Source::Stream(text.into()) } else { Source::Url(text.into()) })
}

/// The images and videos in a folder and its subfolders, without hidden ones.
fn walk(dir: &Path, base: &Path, except: Option<&Path>) -> Result<Vec<Input>> {
    let visible = |entry: &walkdir::DirEntry| {
        let hidden = entry.depth() > 0 && entry.file_name().to_string_lossy().starts_with('.');
        let is_output = || {
            let is_dir = entry.depth() > 0 && entry.file_type().is_dir();
            is_dir && entry.path().canonicalize().is_ok_and(|path| Some(path.as_path()) == except)
        };
        !hidden && !is_output()
    };
    let mut inputs = vec![];
    for entry in WalkDir::new(dir).follow_links(true).sort_by_file_name().into_iter().filter_entry(visible) {
        let path = match entry {
            Ok(entry) => entry.into_path(),
            // A broken link or an unreadable folder becomes an input that fails, so that the others go on.
            Err(error) => match error.path().filter(|_| error.depth() > 0) {
                Some(path) if name_of(path).to_string_lossy().starts_with('.') => continue,
                Some(path) => {
                    let relative = path.strip_prefix(base).unwrap_or(path).to_owned();
                    inputs.push(Input::found(path.to_owned(), relative));
                    continue;
                }
                None => return Err(error).with_context(|| format!("cannot list `{}`", dir.display())),
            },
        };
        let is_taken = has_extension(&path, &IMAGES) || has_extension(&path, &VIDEOS);
        if is_taken && path.is_file() && original_of_ours(&path).is_none() {
            let relative = path.strip_prefix(base).unwrap_or(&path).to_owned();
            inputs.push(Input::found(path, relative));
        }
    }
    Ok(inputs)
}

/// The files that match a pattern, for shells that do not expand patterns. Outputs mirror the tree below the part of
/// the pattern before its first wildcard.
fn expand_pattern(pattern: &str, except: Option<&Path>) -> Result<Vec<Input>> {
    let wild = |part: &Component| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let base: PathBuf = Path::new(pattern).components().take_while(|part| !wild(part)).collect();
    // As in shells, a wildcard does not match a leading dot.
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let paths =
        glob::glob_with(pattern, options).with_context(|| format!("`{pattern}` is neither a file nor a pattern"))?;
    let mut inputs = vec![];
    for path in paths {
        let path = path.unwrap_or_else(|unreadable| unreadable.path().to_owned());
        if path.is_dir() {
            inputs.extend(walk(&path, &base, except)?);
        } else if original_of_ours(&path).is_none() {
            let relative = path.strip_prefix(&base).unwrap_or(&path).to_owned();
            inputs.push(Input::found(path, relative));
        }
    }
    ensure!(!inputs.is_empty(), "nothing matches `{pattern}`, or only what this program has written");
    Ok(inputs)
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    known.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// The name of the original if a file is called like an output of this program: `photo` for `photo.overlay.jpg`. Such
/// files are not inputs of the next run.
fn original_of_ours(path: &Path) -> Option<&str> {
    let (rest, extension) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let (original, format) = rest.rsplit_once('.')?;
    let is_format = Format::VISIBLE.iter().any(|known| known.name() == format);
    let is_known = PictureFormat::of_extension(extension).is_some() || Container::of_extension(extension).is_some();
    (is_format && is_known && !original.is_empty()).then_some(original)
}

fn is_camera(path: &Path, found: &std::fs::Metadata) -> bool {
    !found.is_file() && path.starts_with("/dev") && name_of(path).to_string_lossy().starts_with("video")
}

fn name_of(path: &Path) -> PathBuf {
    path.file_name().unwrap_or(path.as_os_str()).into()
}

/// The last part of an address's path, if it can be a file name.
fn name_of_url(url: &str, otherwise: &str) -> PathBuf {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, path) = path.split_once("://").unwrap_or(("", path));
    let name: String = path.rsplit('/').next().unwrap_or_default().chars().filter(|c| allowed(*c)).collect();
    let usable = path.contains('/') && !name.trim_matches('.').is_empty();
    if usable { name.into() } else { otherwise.into() }
}

/// An address without its password.
pub(crate) fn shown_url(url: &str) -> String {
    let secret = || {
        let (scheme, rest) = url.split_once("://")?;
        let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, host) = host.rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}{path}"))
    };
    secret().unwrap_or_else(|| url.to_owned())
}

fn allowed(c: char) -> bool {
    !c.is_control() && !matches!(c, '\\' | ':' | '*' | '"' | '<' | '>' | '|')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b.jpg",
            "a.PNG",
            "sub/c.webp",
            "sub/deep/d.tif",
            "notes.txt",
            ".hidden.jpg",
            ".git/e.jpg",
            "a.overlay.png",
            "b.contours.jpg",
            "b.cutout.webp",
            "film.MP4",
            "film.overlay.mp4",
            "film.mask.mkv",
            "film.frames/000001.ids.png",
            "out/b.png",
            "overlay.png",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    fn relative(inputs: &Inputs) -> Vec<String> {
        inputs.inputs.iter().map(|input| input.relative.to_str().unwrap().replace('\\', "/")).collect()
    }

    #[test]
    fn a_folder_is_its_images_and_films_by_name() {
        let dir = tree();
        let inputs = expand(&[dir.path().into()], Some(&dir.path().join("out"))).unwrap();
        assert_eq!(relative(&inputs), ["a.PNG", "b.jpg", "film.MP4", "overlay.png", "sub/c.webp", "sub/deep/d.tif"]);
        assert_eq!(inputs.inputs[1].source, Source::File(dir.path().join("b.jpg")));
        assert_eq!(inputs.inputs[2].source, Source::Video(dir.path().join("film.MP4")));
        // If outputs lie beside their inputs, only their names tell them apart.
        let beside = expand(&[dir.path().into()], Some(dir.path())).unwrap();
        assert_eq!(beside.inputs.len(), 7);
    }

    #[test]
    fn patterns_are_expanded_where_the_shell_did_not() {
        let dir = tree();
        let found = |pattern: &str| expand(&[dir.path().join(pattern)], None).map(|inputs| relative(&inputs));
        assert_eq!(found("*.jpg").unwrap(), ["b.jpg"]);
        assert_eq!(found("**/*.[w]*").unwrap(), ["sub/c.webp"]);
        assert_eq!(found("s*").unwrap(), ["sub/c.webp", "sub/deep/d.tif"]);
        assert!(found("*.jpeg").unwrap_err().to_string().contains("nothing matches"));
        assert!(found("[").unwrap_err().to_string().contains("neither a file nor a pattern"));
        // An existing file wins over a pattern.
        std::fs::write(dir.path().join("x[1].jpg"), "").unwrap();
        assert_eq!(found("x[1].jpg").unwrap(), ["x[1].jpg"]);
    }

    #[test]
    fn what_is_named_twice_is_taken_once() {
        let dir = tree();
        let path = dir.path().join("b.jpg");
        assert_eq!(expand(&[path.clone(), path], None).unwrap().inputs.len(), 1);
    }

    #[test]
    fn other_sources_are_told_by_their_looks() {
        let dir = tree();
        let one = |argument: &str| expand(&[dir.path().join(argument)], None).map(|mut found| found.inputs.remove(0));
        assert!(matches!(one("film.MP4").unwrap().source, Source::Video(_)));
        assert!(matches!(one("notes.txt").unwrap().source, Source::File(_)));
        assert!(one("missing.jpg").unwrap_err().to_string().contains("there is no input"));
        let web = expand(&["-".into(), "https://example.org/a/cat.jpg?size=9".into()], None).unwrap().inputs;
        assert_eq!(web[0], Input::named(Source::Stdin, "stdin"));
        assert_eq!(web[1].relative, Path::new("cat.jpg"));
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(one("empty").unwrap_err().to_string().contains("no images"));
    }

    #[test]
    fn an_address_cannot_name_a_path() {
        for (url, name) in [
            ("https://example.org", "image"),
            ("https://example.org/", "image"),
            ("https://example.org/..", "image"),
            ("https://example.org/a\\..\\b", "a..b"),
            ("https://example.org/a.jpg#x/y", "a.jpg"),
        ] {
            assert_eq!(name_of_url(url, "image"), Path::new(name), "{url}");
        }
    }

    #[test]
    fn addresses_of_films_and_streams_are_ffmpegs() {
        for (url, is_film) in [
            ("rtsp://user:secret@camera.local/door", true),
            ("udp://127.0.0.1:5000", true),
            ("https://example.org/film.mp4?x=1", true),
            ("http://example.org/live/index.m3u8", true),
            ("http://example.org/film.jpg", false),
            ("http://example.org/moving.gif", false),
        ] {
            assert_eq!(matches!(of_address(url), Some(Source::Stream(_))), is_film, "{url}");
        }
        assert_eq!(of_address("file:///etc/passwd"), None);
        let camera = expand(&["rtsp://user:secret@camera.local/".into()], None).unwrap().inputs.remove(0);
        assert_eq!((camera.relative.to_str(), camera.is_moving()), (Some("stream"), true));
        assert_eq!(camera.shown(), "rtsp://user:***@camera.local/");
        assert_eq!(shown_url("http://a.org/b:c@d"), "http://a.org/b:c@d");
    }

    /// What a shell makes of `*.jpg` in a folder with outputs of an earlier run.
    #[test]
    fn what_was_made_of_another_input_is_left_out() {
        let dir = tree();
        let both: Vec<PathBuf> = ["b.jpg", "b.contours.jpg"].map(|name| dir.path().join(name)).into();
        let found = expand(&both, None).unwrap();
        assert_eq!(relative(&found), ["b.jpg"]);
        assert!(found.left_out.len() == 1 && found.left_out[0].contains("b.contours.jpg"), "{:?}", found.left_out);
        // Given alone, it is an input.
        assert_eq!(relative(&expand(&both[1..], None).unwrap()), ["b.contours.jpg"]);
        assert_eq!(relative(&expand(&[dir.path().join("b*")], None).unwrap()), ["b.jpg"]);
    }

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
        }
        assert_eq!(decode(&gif(1), "x").unwrap().width(), 2);
        assert!(decode(&gif(2), "x").unwrap_err().to_string().contains("moves"));
        assert!(!moves(&gif(2)[..30]) && !moves(&b"GIF89a"[..]) && !moves(&b""[..]));
    }

    #[test]
    fn images_in_the_containers_of_films_are_told_by_their_brands() {
        let file =
            |brands: &str| [&(brands.len() as u32 + 8).to_be_bytes()[..], b"ftyp", brands.as_bytes(), b"mif1"].concat();
        assert_eq!(iso_image(&file("avif\0\0\0\0mif1miaf")), Some(IsoImage::Avif));
        assert_eq!(iso_image(&file("mif1\0\0\0\0avifmiaf")), Some(IsoImage::Avif));
        assert_eq!(iso_image(&file("heic\0\0\0\0mif1heic")), Some(IsoImage::Heic));
        // What follows the box is not a brand.
        assert_eq!(iso_image(&file("isom\0\0\0\0mp42")), None);
        assert_eq!(
            (iso_image(b""), iso_image(b"\0\0\0\x20ftyp"), iso_image(b"\xff\xff\xff\xffftypheic")),
            (None, None, Some(IsoImage::Heic))
        );
        let said = IsoImage::Heic.decode(Path::new("x.heic")).unwrap_err().to_string();
        assert!(said.contains("heif-convert"), "{said}");
    }
}
