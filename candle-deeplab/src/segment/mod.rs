//! From an image to the class of each of its pixels.

mod memory;
mod multi_scale;
mod scores;
mod segmentation;
mod segmenter;
mod tiles;

pub use multi_scale::MultiScale;
pub use scores::{Answer, Scores};
pub use segmentation::Segmentation;
pub use segmenter::Segmenter;
pub use tiles::Tiles;
