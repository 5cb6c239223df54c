#![doc = include_str!("../README.md")]

mod apart;
pub mod arch;
pub mod atomic;
#[cfg(feature = "bundled")]
pub mod bundled;
pub mod config;
pub mod device;
mod error;
pub mod exec;
pub mod file;
pub mod graph;
pub mod header;
pub mod labels;
pub mod mask;
pub mod metrics;
mod mistaken;
mod model;
mod npy;
pub mod onnx;
pub mod ops;
pub mod pipeline;
pub mod pixels;
mod recycling;
pub mod segment;
pub mod suggest;
mod upsample;
mod weights;

#[cfg(feature = "bundled")]
pub use bundled::bundled;
/// Re-exports of the crates whose types are in this crate's interface, in the matching versions.
pub use {candle_core, image};

pub use config::{CONFIG_FILE, Config, WEIGHTS_FILE};
pub use error::{Error, Result};
pub use exec::{Executor, Precision};
pub use labels::Labels;
pub use model::DeepLab;
pub use recycling::Recycling;
pub use segment::{LabelMap, Segmentation, Segmenter};
