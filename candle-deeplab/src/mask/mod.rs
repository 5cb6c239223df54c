//! Pictures and numbers made from a [`Segmentation`](crate::segment::Segmentation), as further methods of it.

mod indexed;
mod overlay;
mod statistics;

pub use statistics::Found;
