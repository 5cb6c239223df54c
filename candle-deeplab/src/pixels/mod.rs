//! Turns image files into a network's input, and maps the input's pixels back to the image's.

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
