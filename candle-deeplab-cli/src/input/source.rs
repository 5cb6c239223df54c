//! Where an image or a video comes from.

use std::path::{Path, PathBuf};

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
    /// Where it lies below the folder or the pattern that it was found by; its name alone where it was named itself.
    pub(crate) relative: PathBuf,
    /// It was named itself, and not found in a folder or by a pattern.
    pub(crate) named: bool,
}

impl Input {
    pub(super) fn named(source: Source, relative: impl Into<PathBuf>) -> Self {
        Self { source, relative: relative.into(), named: true }
    }

    pub(super) fn found(source: Source, relative: PathBuf) -> Self {
        Self { source, relative, named: false }
    }

    /// What it is called in messages.
    pub(crate) fn shown(&self) -> String {
        match &self.source {
            Source::File(path) | Source::Video(path) | Source::Camera(path) => path.display().to_string(),
            Source::Stdin => "standard input".into(),
            Source::Url(url) | Source::Stream(url) => shown_url(url),
        }
    }

    /// The file on this machine, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) | Source::Video(path) => Some(path),
            Source::Stdin | Source::Url(_) | Source::Camera(_) | Source::Stream(_) => None,
        }
    }

    pub(crate) fn is_moving(&self) -> bool {
        matches!(self.source, Source::Video(_) | Source::Camera(_) | Source::Stream(_))
    }

    /// Whether it is called like a JPEG.
    pub(crate) fn is_jpeg(&self) -> bool {
        let extension = self.relative.extension().unwrap_or_default();
        !self.is_moving() && (extension.eq_ignore_ascii_case("jpg") || extension.eq_ignore_ascii_case("jpeg"))
    }
}

pub(super) fn name_of(path: &Path) -> PathBuf {
    path.file_name().unwrap_or(path.as_os_str()).into()
}

/// An address without the password in it.
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
