//! What can be said on the command line. Nothing here touches the world outside.

mod bench;
mod device;
mod export;
mod segment;

use clap::{Parser, Subcommand};

pub(crate) use bench::{BenchArgs, ExecutorName};
pub(crate) use device::DeviceName;
pub(crate) use export::{ExportArgs, ExportFormat, HeadName, OnnxArgs};
pub(crate) use segment::{Format, SegmentArgs};

/// Semantic segmentation with DeepLabv3+: what is where in a photograph.
#[derive(Debug, Parser)]
#[command(name = "candle-deeplab", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is in an image, and draw where
    Segment(SegmentArgs),
    /// Measure how fast a network runs on this machine's CPU
    Bench(BenchArgs),
    /// Write a model as a file for another runtime
    Export(ExportArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
