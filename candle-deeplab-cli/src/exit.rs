//! How the program ends.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Error;

/// The exit codes. 2 is clap's for wrong usage, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Success = 0,
    /// Some of the inputs failed; the others were done.
    SomeFailed = 1,
    /// Wrong usage or input; nothing was done.
    Failure = 2,
    /// The Hub or the network failed.
    Remote = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Tells the user what went wrong and says how to end. A reader that closed our output has what it wanted.
pub(crate) fn report(error: &Error) -> Exit {
    if is_closed_pipe(error) {
        return Exit::Success;
    }
    say(&message(error));
    if is_remote(error) { Exit::Remote } else { Exit::Failure }
}

fn is_remote(error: &Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref()).any(candle_deeplab_hub::Error::is_remote)
}

/// Says something on standard error. Where that is closed there is nobody left to tell.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

pub(crate) fn is_closed_pipe(error: &Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| kind == io::ErrorKind::BrokenPipe)
}

/// The error and its causes, one a line.
pub(crate) fn message(error: &Error) -> String {
    format!("error: {}", causes(error).join("\n  because: "))
}

/// The error and what caused it, each on one line. Many errors repeat their cause in their own words; it is not said
/// twice.
pub(crate) fn causes(error: &Error) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for cause in error.chain() {
        // Names in a file may hold anything, and a terminal obeys.
        let text = cause.to_string().replace(|c: char| c.is_control(), " ");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !lines.last().is_some_and(|line| line.contains(&text)) {
            lines.push(text);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn not_found() -> candle_deeplab::Error {
        let source = io::Error::new(io::ErrorKind::NotFound, "no such file");
        candle_deeplab::Error::Io { path: PathBuf::from("a.jpg"), source }
    }

    #[test]
    fn causes_are_listed_once_and_on_one_line_each() {
        let error = Error::new(not_found()).context("cannot read\n  the image");
        assert_eq!(message(&error), "error: cannot read the image\n  because: a.jpg: no such file");
        assert_eq!(message(&anyhow::anyhow!("alone")), "error: alone");
    }

    #[test]
    fn the_network_is_told_from_the_user() {
        let offline = candle_deeplab_hub::Error::Offline { what: "x".into() };
        let remote = Error::new(offline).context("cannot load");
        assert_eq!((report(&remote), report(&Error::new(not_found()))), (Exit::Remote, Exit::Failure));
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let pipe = Error::new(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot print");
        assert_eq!(report(&pipe), Exit::Success);
        assert!(!is_closed_pipe(&Error::new(not_found())));
    }
}
