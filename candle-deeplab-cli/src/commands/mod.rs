//! The subcommands, one a file.

mod bench;
mod completions;
mod man;
mod segment;

use anyhow::Result;

use crate::args::Command;
use crate::exit::Exit;

pub(crate) fn run(command: Command) -> Result<Exit> {
    match command {
        Command::Segment(args) => segment::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
