#![doc = include_str!("../README.md")]

mod archive;
mod cache;
mod convert;
mod entry;
mod error;
mod files;
pub mod hub;
mod name;
mod registry;
mod resolve;
mod store;
mod table;

use candle_core::Device;
use candle_deeplab::DeepLab;

pub use cache::{Cached, Verified};
pub use entry::{BUNDLED, Entry, Evaluation, Hints, Kind, Location, Source};
pub use error::{Error, Result};
pub use files::Files;
pub use name::Name;
pub use registry::{get, list};
pub use resolve::{Resolved, Zoo};
pub use store::Manifest;

/// Loads a model by any of its names, with the environment's settings: see [`Zoo::load`] and
/// [`hub::Settings::from_env`].
///
/// # Errors
/// Those of [`Zoo::from_env`] and [`Zoo::load`].
pub fn load(name: &str, device: &Device) -> Result<DeepLab> {
    Zoo::from_env()?.load(name, device)
}
