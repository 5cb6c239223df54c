//! What there is to segment: from arguments to a list, and from its entries to images.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use image::DynamicImage;
use walkdir::WalkDir;

use crate::args::Format;

/// What a folder's images are called.
const IMAGES: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "dib"];

/// Files that go through ffmpeg.
const VIDEOS: [&str; 12] = ["mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "wmv", "flv", "ogv", "gif"];

/// Pictures that this program writes; they are no inputs of the next run.
const OURS: [Format; 6] = [Format::Overlay, Format::Mask, Format::Ids, Format::Color, Format::Contours, Format::Cutout];

/// The most that is read of standard input or from an address.
const MAX_BYTES: u64 = 512 << 20;

/// Where an image or a video comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    File(PathBuf),
    Stdin,
    Url(String),
    Video(PathBuf),
    Camera(PathBuf),
}

/// Something to segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) source: Source,
    /// Where it lies below the folder or the pattern that it was found by; its name alone where it was named itself.
    pub(crate) relative: PathBuf,
}

impl Input {
    fn new(source: Source, relative: impl Into<PathBuf>) -> Self {
        Self { source, relative: relative.into() }
    }

    fn file(path: PathBuf, relative: PathBuf) -> Self {
        let is_video = has_extension(&path, &VIDEOS);
        Self::new(if is_video { Source::Video(path) } else { Source::File(path) }, relative)
    }

    /// What it is called in messages.
    pub(crate) fn shown(&self) -> String {
        match &self.source {
            Source::File(path) | Source::Video(path) | Source::Camera(path) => path.display().to_string(),
            Source::Stdin => "standard input".into(),
            Source::Url(url) => url.clone(),
        }
    }

    /// The file on this machine, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) | Source::Video(path) => Some(path),
            Source::Stdin | Source::Url(_) | Source::Camera(_) => None,
        }
    }

    pub(crate) fn is_moving(&self) -> bool {
        matches!(self.source, Source::Video(_) | Source::Camera(_))
    }

    /// Reads and decodes an image.
    pub(crate) fn image(&self) -> Result<DynamicImage> {
        let image = match &self.source {
            Source::File(path) => candle_deeplab::image::open(path),
            Source::Stdin => candle_deeplab::image::from_bytes(&stdin()?, "standard input"),
            Source::Url(url) => candle_deeplab::image::from_bytes(&fetch(url)?, url),
            Source::Video(_) | Source::Camera(_) => bail!("it is a video"),
        };
        image.context("cannot read the image (JPEG, PNG, WebP, BMP and TIFF files can be read)")
    }
}

fn stdin() -> Result<Vec<u8>> {
    let mut bytes = vec![];
    io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes).context("cannot read standard input")?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "standard input is larger than {} MiB", MAX_BYTES >> 20);
    Ok(bytes)
}

/// The content of an address.
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

/// The inputs that arguments name, in the order of the arguments; within a folder or a pattern by name. What is named
/// twice is taken once. Nothing is looked for in `except`, the folder for outputs.
pub(crate) fn expand(arguments: &[PathBuf], except: Option<&Path>) -> Result<Vec<Input>> {
    let except = except.and_then(|dir| dir.canonicalize().ok());
    let (mut inputs, mut known) = (vec![], HashSet::new());
    for argument in arguments {
        let found = expand_one(argument, except.as_deref())?;
        inputs.extend(found.into_iter().filter(|input| known.insert(input.source.clone())));
    }
    Ok(inputs)
}

fn expand_one(argument: &Path, except: Option<&Path>) -> Result<Vec<Input>> {
    let text = argument.to_str().unwrap_or_default();
    let shown = argument.display();
    if text == "-" {
        return Ok(vec![Input::new(Source::Stdin, "stdin")]);
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(vec![Input::new(Source::Url(text.into()), name_of_url(text))]);
    }
    match std::fs::metadata(argument) {
        Ok(found) if found.is_dir() => {
            let inputs = walk(argument, argument, except)?;
            ensure!(!inputs.is_empty(), "there are no images in `{shown}` ({})", IMAGES.join(", "));
            Ok(inputs)
        }
        Ok(found) if is_camera(argument, &found) => {
            Ok(vec![Input::new(Source::Camera(argument.into()), name_of(argument))])
        }
        Ok(_) => Ok(vec![Input::file(argument.into(), name_of(argument))]),
        Err(_) if text.contains(['*', '?', '[']) => expand_pattern(text, except),
        Err(error) => Err(error).with_context(|| format!("there is no input `{shown}`")),
    }
}

/// The images in a folder and the folders in it, as far as they are not hidden.
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
            // A link to nowhere or a folder that is not ours to read: an input that fails, and the rest go on.
            Err(error) => match error.path().filter(|_| error.depth() > 0) {
                Some(path) if name_of(path).to_string_lossy().starts_with('.') => continue,
                Some(path) => {
                    let relative = path.strip_prefix(base).unwrap_or(path).to_owned();
                    inputs.push(Input::file(path.to_owned(), relative));
                    continue;
                }
                None => return Err(error).with_context(|| format!("cannot list `{}`", dir.display())),
            },
        };
        if path.is_file() && has_extension(&path, &IMAGES) && !is_ours(&path) {
            let relative = path.strip_prefix(base).unwrap_or(&path).to_owned();
            inputs.push(Input::file(path, relative));
        }
    }
    Ok(inputs)
}

/// What a pattern matches, for shells that leave patterns to programs. Its first part without wildcards is the root of
/// the tree that outputs mirror.
fn expand_pattern(pattern: &str, except: Option<&Path>) -> Result<Vec<Input>> {
    let wild = |part: &Component| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let base: PathBuf = Path::new(pattern).components().take_while(|part| !wild(part)).collect();
    // As shells do: a wildcard is no dot at a name's beginning.
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let paths =
        glob::glob_with(pattern, options).with_context(|| format!("`{pattern}` is neither a file nor a pattern"))?;
    let mut inputs = vec![];
    for path in paths {
        let path = path.unwrap_or_else(|unreadable| unreadable.path().to_owned());
        if path.is_dir() {
            inputs.extend(walk(&path, &base, except)?);
        } else {
            let relative = path.strip_prefix(&base).unwrap_or(&path).to_owned();
            inputs.push(Input::file(path, relative));
        }
    }
    ensure!(!inputs.is_empty(), "nothing matches `{pattern}`");
    Ok(inputs)
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    known.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    OURS.iter().any(|format| name.strip_suffix(format.suffix()).is_some_and(|stem| stem.ends_with('.')))
}

fn is_camera(path: &Path, found: &std::fs::Metadata) -> bool {
    !found.is_file() && path.starts_with("/dev") && name_of(path).to_string_lossy().starts_with("video")
}

fn name_of(path: &Path) -> PathBuf {
    path.file_name().unwrap_or(path.as_os_str()).into()
}

/// The last part of an address's path, as far as it can be a file's name.
fn name_of_url(url: &str) -> PathBuf {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, path) = path.split_once("://").unwrap_or(("", path));
    let name: String = path.rsplit('/').next().unwrap_or_default().chars().filter(|c| allowed(*c)).collect();
    let usable = path.contains('/') && !name.trim_matches('.').is_empty();
    if usable { name.into() } else { "image".into() }
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
            "b.cutout.png",
            "film.mp4",
            "out/b.png",
            "overlay.png",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    fn relative(inputs: &[Input]) -> Vec<String> {
        inputs.iter().map(|input| input.relative.to_str().unwrap().replace('\\', "/")).collect()
    }

    #[test]
    fn a_folder_is_its_images_by_name() {
        let dir = tree();
        let inputs = expand(&[dir.path().into()], Some(&dir.path().join("out"))).unwrap();
        assert_eq!(relative(&inputs), ["a.PNG", "b.jpg", "overlay.png", "sub/c.webp", "sub/deep/d.tif"]);
        assert_eq!(inputs[1].source, Source::File(dir.path().join("b.jpg")));
        // Where outputs lie beside their inputs only their names tell.
        let beside = expand(&[dir.path().into()], Some(dir.path())).unwrap();
        assert_eq!(beside.len(), 6);
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
        // A file that is called like a pattern is a file.
        std::fs::write(dir.path().join("x[1].jpg"), "").unwrap();
        assert_eq!(found("x[1].jpg").unwrap(), ["x[1].jpg"]);
    }

    #[test]
    fn what_is_named_twice_is_taken_once() {
        let dir = tree();
        let path = dir.path().join("b.jpg");
        assert_eq!(expand(&[path.clone(), path], None).unwrap().len(), 1);
    }

    #[test]
    fn other_sources_are_told_by_their_looks() {
        let dir = tree();
        let one = |argument: &str| expand(&[dir.path().join(argument)], None).map(|mut inputs| inputs.remove(0));
        assert!(matches!(one("film.mp4").unwrap().source, Source::Video(_)));
        assert!(matches!(one("notes.txt").unwrap().source, Source::File(_)));
        assert!(one("missing.jpg").unwrap_err().to_string().contains("there is no input"));
        let web = expand(&["-".into(), "https://example.org/a/cat.jpg?size=9".into()], None).unwrap();
        assert_eq!(web[0], Input::new(Source::Stdin, "stdin"));
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
            assert_eq!(name_of_url(url), Path::new(name), "{url}");
        }
    }
}
