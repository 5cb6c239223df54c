//! `candle-deeplab pull`: models onto this machine.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::args::PullArgs;
use crate::exit::{self, Exit};
use crate::output::{Output, Report};
use crate::resolve;

pub(crate) fn run(args: PullArgs) -> Result<Exit> {
    let output = Output::of(args.output);
    let zoo = resolve::zoo(&args.zoo, !args.output.quiet)?;
    let mut failed = None;
    let mut done = 0;
    for name in &args.models {
        match zoo.pull(name) {
            Ok(found) => {
                done += 1;
                let pulled = Pulled { name, source: found.source, place: found.files.to_string() };
                output.print(&pulled).context("cannot print the result")?;
            }
            Err(error) => failed = Some(exit::report(&error.into())),
        }
    }
    Ok(match failed {
        Some(_) if done > 0 => Exit::SomeFailed,
        Some(exit) => exit,
        None => Exit::Success,
    })
}

#[derive(Debug, Serialize)]
struct Pulled<'a> {
    name: &'a str,
    source: String,
    #[serde(rename = "dir")]
    place: String,
}

impl Report for Pulled<'_> {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        match self.source == self.place {
            true => writeln!(to, "{}: {}", self.name, self.place),
            false => writeln!(to, "{}: from {}, in {}", self.name, self.source, self.place),
        }
    }
}
