//! Which model, for every command that runs one.

use candle_deeplab_hub::BUNDLED;
use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct ModelArgs {
    /// The model: a name that `candle-deeplab models` lists, ORG/NAME[@REVISION][:FILE] on the Hub, an address, or a path
    /// [default: bundled, a small one that is part of this program]
    #[arg(short, long, alias = "weights", value_name = "MODEL")]
    pub(crate) model: Option<String>,

    #[command(flatten)]
    pub(crate) zoo: ZooArgs,
}

impl ModelArgs {
    /// The model that is meant, said or not.
    pub(crate) fn name(&self) -> &str {
        self.model.as_deref().unwrap_or(BUNDLED)
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ZooArgs {
    /// A user or organisation on the Hub whose models of our names come first [default: CANDLE_DEEPLAB_NAMESPACE]
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}
