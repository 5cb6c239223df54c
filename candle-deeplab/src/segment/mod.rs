//! From an image to the class of each of its pixels.

mod multi_scale;
mod segmentation;
mod segmenter;
mod upsample;

pub use multi_scale::MultiScale;
pub use segmentation::Segmentation;
pub use segmenter::Segmenter;
