//! The program `candle-deeplab`.

use std::process::ExitCode;

/// Feature maps are made anew in every step of training, and fresh memory is slow.
#[global_allocator]
static ALLOCATOR: candle_deeplab::Recycling = candle_deeplab::Recycling::new();

fn main() -> ExitCode {
    candle_deeplab_cli::run(std::env::args_os()).into()
}
