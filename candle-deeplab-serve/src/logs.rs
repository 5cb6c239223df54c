//! The server's log, on standard error.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line of text for each event.
    Text,
    /// A line of JSON for each event.
    Json,
}

/// Writes the log of this process to standard error, from now on. With `quiet`, only warnings and errors.
pub fn start(form: Form, quiet: bool) {
    let level = if quiet { LevelFilter::WARN } else { LevelFilter::INFO };
    let log = fmt().with_writer(std::io::stderr).with_max_level(level).with_target(false);
    let started = match form {
        Form::Text => log.with_ansi(false).try_init(),
        Form::Json => log.json().flatten_event(true).try_init(),
    };
    // Somebody else's subscriber stays.
    let _ = started;
}
