//! What can be said on the command line. Nothing here touches the world outside.

mod bench;
mod device;
mod export;
mod model;
mod segment;
mod zoo;

use clap::{Parser, Subcommand};

pub(crate) use bench::{BenchArgs, ExecutorName};
pub(crate) use device::DeviceName;
pub(crate) use export::{ExportArgs, ExportFormat, HeadName, OnnxArgs};
pub(crate) use model::{ModelArgs, ZooArgs};
pub(crate) use segment::{Format, SegmentArgs};
pub(crate) use zoo::{
    CacheArgs, CacheCommand, CacheListArgs, CacheRemoveArgs, DoctorArgs, InfoArgs, ModelsArgs, OutputArgs, PublishArgs,
    PullArgs,
};

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
    /// List the models that are known by name
    Models(ModelsArgs),
    /// Say what a model is: recipe, costs, numerics, where it comes from
    Info(InfoArgs),
    /// Fetch models now, so that they are there when needed
    Pull(PullArgs),
    /// Put a model directory onto the Hub
    Publish(PublishArgs),
    /// The models on this machine
    Cache(CacheArgs),
    /// Say what this machine has: devices, instructions, cache, token, network
    Doctor(DoctorArgs),
}

fn size(text: &str) -> Result<(usize, usize), String> {
    let sides = text.split_once('x').and_then(|(h, w)| Some((h.parse().ok()?, w.parse().ok()?)));
    sides.filter(|(h, w)| *h > 0 && *w > 0).ok_or_else(|| "it must be HEIGHTxWIDTH, e.g. 513x513".into())
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
