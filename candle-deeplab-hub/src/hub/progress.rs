//! Events that report progress.

use std::sync::Arc;

/// An event on the way to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Another process holds the lock.
    Waiting {
        /// What both want to fetch or convert.
        what: &'a str,
    },
    /// A transfer begins; `done` bytes are there from an earlier one.
    Begin {
        /// The file.
        what: &'a str,
        /// Bytes that are there already.
        done: u64,
        /// Bytes in total, if the server says.
        total: Option<u64>,
    },
    /// More bytes of the transfer have arrived or been sent.
    Advance {
        /// Bytes that are there now.
        done: u64,
    },
    /// A transfer ended, with success or without.
    End,
    /// A file in the cache is not what it was when it was fetched. It is not used, and another is made or fetched.
    Damaged {
        /// The file, and what was found.
        what: &'a str,
    },
    /// A foreign file is being converted.
    Converting {
        /// The file.
        what: &'a str,
    },
}

/// The function that receives events.
pub type Progress = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Ignores all events.
pub(crate) fn silent() -> Progress {
    Arc::new(|_| {})
}
