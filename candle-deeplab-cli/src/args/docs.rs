//! `candle-deeplab completions` and `candle-deeplab man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n\n    candle-deeplab completions bash > \
    ~/.local/share/bash-completion/completions/candle-deeplab")]
pub(crate) struct CompletionsArgs {
    /// The shell that the script is for
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n\n    candle-deeplab man | man -l -\n    \
    candle-deeplab man --output ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// A folder for a page a command [default: all pages go to standard output]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}
