//! What is going on, for whoever watches.

use std::sync::Arc;

/// Something that happened on the way to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Another process is at it.
    Waiting {
        /// At what.
        what: &'a str,
    },
    /// A transfer begins, with `done` bytes left over from an earlier one.
    Begin {
        /// The file.
        what: &'a str,
        /// Bytes that are there already.
        done: u64,
        /// Bytes in all, where the server says.
        total: Option<u64>,
    },
    /// Some of it has arrived.
    Advance {
        /// Bytes that are there now.
        done: u64,
    },
    /// A transfer ended, well or not.
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

/// Who is told.
pub type Progress = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Nobody is told.
pub(crate) fn silent() -> Progress {
    Arc::new(|_| {})
}
