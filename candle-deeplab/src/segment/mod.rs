//! From an image to the class of each of its pixels.

mod segmentation;
mod segmenter;
mod upsample;

pub use segmentation::Segmentation;
pub use segmenter::Segmenter;
