//! `candle-deeplab completions`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Args, CompletionsArgs, NAME};
use crate::exit::Exit;

pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit> {
    // Made in memory, since clap's generator panics if the output is closed.
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Args::command(), NAME, &mut script);
    io::stdout().write_all(&script).context("cannot print the script")?;
    Ok(Exit::Success)
}
