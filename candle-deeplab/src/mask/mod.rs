//! Pictures, files and numbers made from a [`Segmentation`](crate::segment::Segmentation), as further methods of it.
//!
//! | method | what |
//! |---|---|
//! | `overlay`, `outlines`, `colors` | pictures of the image's size; `draw_legend` adds the classes' names to one |
//! | `cutout` | some classes before a transparent background |
//! | `write_mask`, `write_ids` | the label map as a PNG, with a palette or in grey |
//! | `write_npy` | the label map for numpy; probabilities are [`Scores::write_npy`](crate::segment::Scores::write_npy) |
//! | `write_rle` | COCO results, as `pycocotools` reads them |
//! | `regions`, `write_geojson` | exact polygons with holes |
//! | `found`, `write_json` | what is in the image, and how much of it |

mod colors;
mod cutout;
mod geojson;
mod indexed;
mod json;
mod legend;
pub(crate) mod npy;
mod outlines;
mod overlay;
mod regions;
mod rle;
mod statistics;
#[cfg(test)]
mod tests;

pub use regions::{Polygon, Region, Ring};
pub use rle::Rle;
pub use statistics::Found;
