//! What the program prints: each command makes one report, which is shown as text, as JSON or not at all.

use std::io::{self, Write};

use serde::Serialize;

use crate::args::OutputArgs;
use crate::exit::plain;

/// The report of a command.
pub(crate) trait Report: Serialize {
    /// Writes the report for people.
    fn text(&self, to: &mut dyn Write) -> io::Result<()>;
}

/// The form in which reports are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Text,
    /// One object per line, for `jq` and log collectors.
    Json,
    Quiet,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (false, true) => Self::Quiet,
            (false, false) => Self::Text,
        }
    }

    pub(crate) fn of(args: OutputArgs) -> Self {
        Self::new(args.json, args.quiet)
    }

    pub(crate) fn print(self, report: &impl Report) -> io::Result<()> {
        self.print_to(report, &mut io::stdout().lock())
    }

    /// The same elsewhere, if standard output carries an output.
    pub(crate) fn print_to(self, report: &impl Report, to: &mut dyn Write) -> io::Result<()> {
        self.render(report, to)?;
        to.flush()
    }

    fn render(self, report: &impl Report, to: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Text => {
                let mut text = vec![];
                report.text(&mut text)?;
                to.write_all(plain(&String::from_utf8_lossy(&text)).as_bytes())
            }
            Self::Json => writeln!(to, "{}", serde_json::to_string(report)?),
            Self::Quiet => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Greeting {
        word: &'static str,
    }

    impl Report for Greeting {
        fn text(&self, to: &mut dyn Write) -> io::Result<()> {
            writeln!(to, "{}!", self.word)
        }
    }

    /// A terminal would obey them; JSON escapes them by itself.
    #[test]
    fn control_characters_are_escaped_and_lines_stay() {
        let mut bytes = vec![];
        Output::Text.render(&Greeting { word: "a\u{1b}[2J\u{9b}b\nc\r" }, &mut bytes).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "a\\u{1b}[2J\\u{9b}b\nc\\r!\n");
    }

    #[test]
    fn one_value_is_shown_in_three_ways() {
        let shown = |output: Output| {
            let mut bytes = vec![];
            output.render(&Greeting { word: "hello" }, &mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(shown(Output::new(false, false)), "hello!\n");
        assert_eq!(shown(Output::new(true, false)), "{\"word\":\"hello\"}\n");
        assert_eq!(shown(Output::new(false, true)), "");
    }
}
