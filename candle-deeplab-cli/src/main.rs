//! The program `candle-deeplab`: semantic segmentation with DeepLabv3+.
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
mod target;
mod transfer;

use std::process::ExitCode;

use clap::Parser;

/// Feature maps are made anew in every step of training, and fresh memory is slow.
#[global_allocator]
static ALLOCATOR: candle_deeplab::Recycling = candle_deeplab::Recycling::new();

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let hint = args::hint(&error, |path| std::path::Path::new(path).exists());
            let Some(hint) = hint else { error.exit() };
            exit::say(&format!("{}\n{hint}", error.to_string().trim_end()));
            return exit::Exit::Failure.into();
        }
    };
    match commands::run(args.command) {
        Ok(exit) => exit.into(),
        Err(error) => exit::report(&error).into(),
    }
}
