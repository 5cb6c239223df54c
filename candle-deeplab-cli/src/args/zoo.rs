//! The commands about models as such: `models`, `info`, `pull`, `publish`, `cache`, `doctor`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::model::ZooArgs;

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Only those trained for this data set, e.g. voc, cityscapes, ade20k or imagenet; the beginning of its name will do
    #[arg(long, value_name = "SET")]
    pub(crate) dataset: Option<String>,

    /// Only those with this backbone, e.g. xception65, or with one of a family, e.g. mobilenet
    #[arg(long, value_name = "NAME")]
    pub(crate) backbone: Option<String>,

    /// What is on this machine, as `cache list` says it: files that were converted are there, too
    #[arg(long)]
    pub(crate) cached: bool,

    #[command(flatten)]
    pub(crate) zoo: ZooArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// The model, as `segment --model` takes it; nothing is fetched
    pub(crate) model: String,

    /// Height and width of the input that costs and shapes are about [default: the model's own]
    #[arg(long, value_name = "HxW", value_parser = super::number::size)]
    pub(crate) size: Option<(usize, usize)>,

    /// Say what each layer is and costs, too
    #[arg(long)]
    pub(crate) layers: bool,

    #[command(flatten)]
    pub(crate) zoo: ZooArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The models, as `segment --model` takes them
    #[arg(required = true)]
    pub(crate) models: Vec<String>,

    #[command(flatten)]
    pub(crate) zoo: ZooArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// A model directory
    pub(crate) dir: PathBuf,

    /// The repo on the Hub, ORG/NAME; it is made where it is missing
    pub(crate) repo: String,

    /// Make the repo one that others cannot see
    #[arg(long)]
    pub(crate) private: bool,

    /// What the commit says
    #[arg(short, long, value_name = "TEXT", default_value = "Upload a model with candle-deeplab")]
    pub(crate) message: String,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the models on this machine, and where they are
    #[command(visible_alias = "ls")]
    List(CacheListArgs),
    /// Remove models from this machine
    #[command(visible_alias = "rm")]
    Remove(CacheRemoveArgs),
    /// Read all models on this machine, and compare them with their digests
    Verify(CacheListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CacheListArgs {
    #[command(flatten)]
    pub(crate) zoo: ZooArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CacheRemoveArgs {
    /// The models, by any of their names, by their paths, or by those of the files that were converted
    #[arg(required = true)]
    pub(crate) models: Vec<String>,

    #[command(flatten)]
    pub(crate) zoo: ZooArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// Print one line of JSON instead of a table
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
