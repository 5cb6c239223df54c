//! Turns image files into a network's input, maps the input's pixels back to the image's, and writes pictures.

mod decode;
mod encoded;
mod geometry;
mod jpeg;
mod picture;
mod preprocess;
mod rgb;

pub use decode::{from_bytes, from_reader, open};
pub use encoded::Encoded;
pub use geometry::Geometry;
pub use picture::PictureFormat;
pub use preprocess::Prepared;

pub use crate::graph::Size;
