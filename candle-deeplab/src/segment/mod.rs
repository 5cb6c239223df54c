//! From an image to the class of each of its pixels.

mod label_map;
mod memory;
mod multi_scale;
mod predictor;
mod scores;
mod segmentation;
mod segmenter;
mod tiles;

pub use label_map::LabelMap;
pub use multi_scale::MultiScale;
pub use predictor::{Answer, Predictor};
pub use scores::Scores;
pub use segmentation::Segmentation;
pub use segmenter::Segmenter;
pub use tiles::Tiles;
