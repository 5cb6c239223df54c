//! The errors on the way from a model's name to its files.

use std::path::{Path, PathBuf};

/// An error on the way from a model's name to its files. Every message names the object and a way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that no model has, or that cannot be parsed.
    #[error("`{name}`: {reason}")]
    Name {
        /// The name that was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting in the environment that cannot be used.
    #[error("the environment variable {variable}: {reason}")]
    Setting {
        /// The name of the variable.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The network may not be used, and the file is not in the cache.
    #[error(
        "{what} is not in the cache, and the network may not be used: unset HF_HUB_OFFLINE (in Python, leave \
         `offline` out), or give the path of a model directory"
    )]
    Offline {
        /// What was looked for.
        what: String,
    },
    /// No answer, or an incomplete one.
    #[error("{url}: {reason}")]
    Network {
        /// The address.
        url: String,
        /// What went wrong, and what to do.
        reason: String,
    },
    /// The server refused.
    #[error("{url}: the server answered {status}: {reason}")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it means, and what to do.
        reason: String,
    },
    /// A repo has no file of this name.
    #[error("`{repo}` has no file `{file}` at `{revision}`: its files are listed on its page on the Hub")]
    NoSuchFile {
        /// The repo.
        repo: String,
        /// The branch, tag or commit.
        revision: String,
        /// The file.
        file: String,
    },
    /// The server's answer cannot be understood.
    #[error("{url}: {reason}")]
    Answer {
        /// The address.
        url: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A file whose size or digest is wrong.
    #[error(
        "{url}: what arrived is not what was promised: its {digest} is {found}, not {wanted}. It was deleted; \
         try again, and if that does not help, a proxy in between or the file's owner has changed it"
    )]
    Digest {
        /// The address.
        url: String,
        /// The kind of the digest.
        digest: &'static str,
        /// The value of the file that arrived.
        found: String,
        /// The expected value.
        wanted: String,
    },
    /// A file in the cache is not what it was when it was fetched, and no other is to be had.
    #[error(
        "{}: the file is damaged, so it is not used: its {digest} is {found}, not {wanted}. {way_out}", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The kind of the digest.
        digest: &'static str,
        /// What is there.
        found: String,
        /// What was fetched.
        wanted: String,
        /// What to do.
        way_out: String,
    },
    /// A file in the cache cannot be written.
    #[error("{}: {reason}", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// The reason, and what to do.
        reason: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// An archive that lacks the wanted file or is not safe to unpack.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The conversion of a foreign file failed.
    #[error("cannot convert {file}: {source}")]
    Convert {
        /// The file, as a name or an address.
        file: String,
        /// The converter's error.
        source: weights_convert::Error,
    },
    /// None of a model's sources could be used.
    #[error("`{model}` could not be fetched from any of its sources:{}", listed(tried))]
    NoSource {
        /// The model's id.
        model: String,
        /// The error of each source.
        tried: Vec<Error>,
    },
    /// An error of the library: about a file, a recipe, weights or the device.
    #[error(transparent)]
    Library(#[from] candle_deeplab::Error),
}

/// `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn listed(errors: &[Error]) -> String {
    // On one line, as every error's message.
    errors.iter().enumerate().map(|(i, error)| format!(" ({}) {error}", i + 1)).collect()
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Library(candle_deeplab::Error::Io { path: path.to_owned(), source })
    }

    /// Whether the server or the network is to blame, and not the request.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Offline { .. }
            | Self::Network { .. }
            | Self::Status { .. }
            | Self::NoSuchFile { .. }
            | Self::Answer { .. }
            | Self::Digest { .. }
            | Self::Damaged { .. } => true,
            Self::NoSource { tried, .. } => tried.iter().any(Self::is_remote),
            _ => false,
        }
    }
}
