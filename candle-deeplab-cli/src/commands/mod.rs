//! The subcommands, one a file.

mod bench;
mod cache;
mod completions;
mod dataset;
mod demo;
mod doctor;
mod eval;
mod export;
mod filter;
mod info;
mod man;
mod models;
mod publish;
mod pull;
mod segment;
mod serve;
mod table;
mod train;

use anyhow::Result;

use crate::args::Command;
use crate::exit::Exit;

pub(crate) fn run(command: Command) -> Result<Exit> {
    match command {
        Command::Segment(args) => segment::run(args),
        Command::Demo(args) => demo::run(&args),
        Command::Eval(args) => eval::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Dataset(args) => dataset::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Train(args) => train::run(args),
        Command::Export(args) => export::run(args),
        Command::Models(args) => models::run(args),
        Command::Info(args) => info::run(args),
        Command::Pull(args) => pull::run(args),
        Command::Publish(args) => publish::run(args),
        Command::Cache(args) => cache::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
