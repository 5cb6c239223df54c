//! Pretrained models by name.
//!
//! [`list`] is the registry: what there is, how good it is, and where it comes from.

mod error;
mod importer;
mod registry;
mod table;

pub use error::Error;
pub use importer::{Hints, Importer};
pub use registry::{Evaluation, Kind, Location, Model, Source, get, list};
