//! From the names and shapes in a file to a recipe, with the source of each of our parameters.
//!
//! A family is a code base whose files are recognised by their names. It has a table of names, and a few conventions that
//! its files do not tell; everything else is the same for all families.

mod backbones;
mod config;
mod conventions;
mod family;
mod jfzhang;
mod layers;
mod mmseg;
mod names;
mod network;
mod options;
mod recognise;
mod smp;
mod tf_slim;
mod timm;
mod torch;
mod torchvision;
mod transformers;
mod transformers_config;
mod unused;
mod vainf;

pub use layers::Source;
pub use options::{Card, Options, WeightType};
pub use recognise::{Recipe, recognise};
pub use unused::Unused;
