//! Why a server cannot start or go on.

use std::io;
use std::net::SocketAddr;

/// Why a server cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The system refuses a thread or a socket.
    #[error("cannot start the server: {0}")]
    System(#[from] io::Error),
    /// A setting that cannot be used.
    #[error("{0}")]
    Setting(String),
    /// A model that the server was started with could not be loaded.
    #[error("a model could not be loaded: the log says which, and why")]
    Models,
}
