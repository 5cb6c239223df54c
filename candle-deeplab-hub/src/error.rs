//! What can go wrong on the way from a model's name to its files.

use std::path::{Path, PathBuf};

/// What can go wrong on the way from a model's name to its files. Every message names the thing and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is no model, or that could not be understood.
    #[error("`{name}`: {reason}")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting in the environment that cannot be used.
    #[error("the environment variable {variable}: {reason}")]
    Setting {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The network is not to be used, and what is wanted is not in the cache.
    #[error(
        "{what} is not in the cache, and HF_HUB_OFFLINE is set: unset it and run the command again, \
         or give the path of a model directory"
    )]
    Offline {
        /// What is wanted.
        what: String,
    },
    /// No answer, or half of one.
    #[error("{url}: {reason}")]
    Network {
        /// What was asked for.
        url: String,
        /// What went wrong, and what to do.
        reason: String,
    },
    /// The server's answer is a refusal.
    #[error("{url}: the server answered {status}: {reason}")]
    Status {
        /// What was asked for.
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
    /// The server's answer makes no sense.
    #[error("{url}: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// What arrived is not what was promised.
    #[error(
        "{url}: what arrived is not what was promised: its {digest} is {found}, not {wanted}. It was deleted; \
         try again, and if that does not help, a proxy in between or the file's owner has changed it"
    )]
    Digest {
        /// What was asked for.
        url: String,
        /// The kind of the digest.
        digest: &'static str,
        /// What arrived.
        found: String,
        /// What was promised.
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
        /// What is wrong, and what to do.
        reason: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// An archive without the file that is wanted, or one that is not to be trusted.
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
        /// What the converter said.
        source: weights_convert::Error,
    },
    /// None of a model's sources could be used.
    #[error("`{model}` could not be fetched from any of its sources:{}", listed(tried))]
    NoSource {
        /// The model's id.
        model: String,
        /// What each source said.
        tried: Vec<Error>,
    },
    /// Something in the library: a file, a recipe, weights, the device.
    #[error(transparent)]
    Library(#[from] candle_deeplab::Error),
}

/// `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn listed(errors: &[Error]) -> String {
    // One line, as every error.
    errors.iter().enumerate().map(|(i, error)| format!(" ({}) {error}", i + 1)).collect()
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Library(candle_deeplab::Error::Io { path: path.to_owned(), source })
    }

    /// Whether a server or the network is to blame, rather than what was asked for.
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
