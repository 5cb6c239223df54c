//! The program `candle-deeplab`: semantic segmentation with DeepLabv3+. It is a library so that the Python package can have the
//! program, too.
//!
//! `args` parses the command line without I/O, `resolve` checks everything that can be checked before the expensive
//! part, and `commands` does the work.

mod args;
mod budget;
mod commands;
mod device;
mod exit;
mod ffmpeg;
mod guard;
mod input;
mod interrupt;
mod output;
mod program;
mod progress;
mod resolve;
mod signals;
mod target;
mod transfer;

use std::ffi::OsString;

use clap::Parser;

use exit::Exit;
pub use transfer::progress;

/// Runs the program with these arguments, of which the first is its own name, and returns its exit code.
///
/// Call it once, in a process of its own: it listens for signals, sets up the global thread pool, and may end the process.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args = match args::Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => return refused(&error),
    };
    let exit = match commands::run(args.command) {
        Ok(exit) => exit,
        Err(error) => exit::report(&error),
    };
    exit as u8
}

/// Says what is wrong with the arguments; or prints the help, if it was asked for.
fn refused(error: &clap::Error) -> u8 {
    match args::hint(error, |path| std::path::Path::new(path).exists()) {
        Some(hint) => {
            exit::say(&format!("{}\n{hint}", error.to_string().trim_end()));
            Exit::Failure as u8
        }
        None => {
            // Nobody can be told where the output is closed.
            let _ = error.print();
            error.exit_code() as u8
        }
    }
}
