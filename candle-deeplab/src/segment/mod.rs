//! Segments images: finds the class of each pixel.

mod free_memory;
mod label_map;
mod memory;
mod multi_scale;
mod options;
mod predictor;
mod scores;
mod segmentation;
mod segmenter;
mod tiles;

pub use free_memory::free_memory;
pub use label_map::LabelMap;
pub use multi_scale::MultiScale;
pub use options::Options;
pub use predictor::{Answer, Predictor};
pub use scores::Scores;
pub use segmentation::Segmentation;
pub use segmenter::{Segmented, Segmenter, Wanted};
pub use tiles::Tiles;
