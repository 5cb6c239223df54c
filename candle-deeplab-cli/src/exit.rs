//! How the program ends.

use std::borrow::Cow;
use std::io::{self, Write};

use anyhow::Error;

/// The exit codes. clap, too, ends with 2 on wrong usage.
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

/// Prints the error and returns the exit code. A reader that closed our output has what it wanted.
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

/// Prints a line to standard error; if that is closed, nobody can be told.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(text));
}

/// Text for a terminal: control characters, which it would obey, are escaped, except for the ends of lines. They come from
/// the names of files, and from what a model says of itself.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && c != '\n';
    if !text.contains(obeyed) {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    plain.into()
}

pub(crate) fn is_closed_pipe(error: &Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| kind == io::ErrorKind::BrokenPipe)
}

/// The error and its causes, one on each line.
pub(crate) fn message(error: &Error) -> String {
    format!("error: {}", causes(error).join("\n  because: "))
}

/// The error and its causes, each as one line. A cause that the error's own message repeats is left out.
pub(crate) fn causes(error: &Error) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for cause in error.chain() {
        // Names from a file may hold control characters, which a terminal would obey.
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
