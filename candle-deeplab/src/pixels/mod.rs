//! From an image file to a network's input, and back from the input's pixels to the image's.

mod decode;
mod encoded;
mod geometry;
mod jpeg;
mod preprocess;
mod rgb;

pub use decode::{from_bytes, from_reader, open};
pub use encoded::Encoded;
pub use geometry::Geometry;
pub use preprocess::Prepared;

pub use crate::graph::Size;
