//! The subcommands, one a file.

mod bench;
mod export;
mod segment;

use anyhow::Result;

use crate::args::Command;
use crate::exit::Exit;

pub(crate) fn run(command: Command) -> Result<Exit> {
    match command {
        Command::Segment(args) => segment::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Export(args) => export::run(args),
    }
}
