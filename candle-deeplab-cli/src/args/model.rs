//! Which model, for every command that runs one.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct ModelArgs {
    /// The model: a name that `candle-deeplab models` lists, ORG/NAME[@REVISION][:FILE] on the Hub, an address, or a path
    #[arg(short, long, alias = "weights", value_name = "MODEL", default_value = "deeplabv3plus-xception65-voc")]
    pub(crate) model: String,

    #[command(flatten)]
    pub(crate) zoo: ZooArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ZooArgs {
    /// A user or organisation on the Hub whose models of our names come first [default: CANDLE_DEEPLAB_NAMESPACE]
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}
