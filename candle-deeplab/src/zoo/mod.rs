//! Pretrained models by name.
//!
//! [`list`] is the registry: what there is, how good it is, and where it comes from. With the feature `hub` (on unless
//! it is switched off) a model loads by its name:
//!
//! ```no_run
//! use candle_core::Device;
//! use candle_deeplab::zoo;
//!
//! let model = zoo::get("deeplabv3plus-xception65-voc")?.load(&Device::Cpu)?;
//! # Ok::<(), candle_deeplab::Error>(())
//! ```
//!
//! Most published weights are in other programs' formats. They are fetched once, converted once and kept in our own; who
//! converts is an [`Importer`], since this crate knows no format but its own:
//!
//! ```ignore
//! let zoo = Zoo::from_env()?.with_importer(&weights_convert::WeightsConvert);
//! let model = zoo.load("deeplabv3plus-xception65-voc", &Device::Cpu)?;
//! ```
//!
//! [`Zoo::load`] takes an id, an alias, `org/name[@revision][:file]` on the Hugging Face Hub, an address, or a path. It
//! looks into the cache first, then into a namespace on the Hub (`CANDLE_DEEPLAB_NAMESPACE`), then where the registry says.
//! Files of the Hub lie in the cache that Python's huggingface_hub uses (`HF_HOME`, `HF_HUB_CACHE`), converted models beside
//! it, in `assets/candle-deeplab`, each with a manifest.

#[cfg(feature = "hub")]
mod archive;
#[cfg(feature = "hub")]
mod cache;
mod error;
#[cfg(feature = "hub")]
mod files;
#[cfg(feature = "hub")]
pub mod hub;
mod importer;
#[cfg(feature = "hub")]
mod name;
mod registry;
#[cfg(feature = "hub")]
mod resolve;
#[cfg(feature = "hub")]
mod store;
mod table;

#[cfg(feature = "hub")]
pub use cache::{Cached, Verified};
pub use error::Error;
#[cfg(feature = "hub")]
pub use files::Files;
pub use importer::{Hints, Import, Importer};
#[cfg(feature = "hub")]
pub use name::Name;
pub use registry::{BUNDLED, Evaluation, Kind, Location, Model, Source, get, list};
#[cfg(feature = "hub")]
pub use resolve::{Resolved, Zoo};
#[cfg(feature = "hub")]
pub use store::Manifest;

#[cfg(feature = "hub")]
impl Model {
    /// Loads the model from the cache, or from a repo in our own format in the namespace that the environment names.
    /// [`Zoo::with_importer`] is for those whose files are another program's.
    ///
    /// # Errors
    /// As [`Zoo::load`].
    pub fn load(&'static self, device: &candle_core::Device) -> crate::Result<crate::DeepLab> {
        Zoo::from_env()?.load_model(self, device)
    }
}
