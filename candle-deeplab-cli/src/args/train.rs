//! `candle-deeplab train`.

use std::path::PathBuf;

use clap::Args;

use super::number::{MOST_THREADS, count};
use super::{DeviceName, ZooArgs};

/// The longest run.
const MOST_STEPS: usize = 1_000_000_000;

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The recipe, a TOML file; configs/ has some [default with --resume: the one in the run's folder]
    #[arg(short, long, value_name = "FILE", required_unless_present = "resume")]
    pub(crate) config: Option<PathBuf>,

    /// The data set's folder [default: the recipe's `data.dir`]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// The folder of the run: the model, checkpoints, logs, curves
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Change the recipe, e.g. `--set loader.batch=4 --set model.output_stride=8`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,

    /// Stop after this step; the learning rate follows the recipe's `schedule.steps` all the same
    #[arg(long, value_name = "N", value_parser = count::<MOST_STEPS>)]
    pub(crate) steps: Option<usize>,

    /// Go on from the last checkpoint in the run's folder
    #[arg(long)]
    pub(crate) resume: bool,

    /// Where to train: auto, cpu, cuda, metal, or a numbered one such as cuda:1
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceName::Auto)]
    pub(crate) device: DeviceName,

    /// Threads [default: one a core, or RAYON_NUM_THREADS]
    #[arg(long, value_name = "N", value_parser = count::<MOST_THREADS>)]
    pub(crate) threads: Option<usize>,

    #[command(flatten)]
    pub(crate) zoo: ZooArgs,

    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Print the result as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}
