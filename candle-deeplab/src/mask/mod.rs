//! Pictures, files and numbers made from a [`Segmentation`](crate::segment::Segmentation), as further methods of it.
//!
//! | method | what |
//! |---|---|
//! | `overlay`, `contours`, `colors` | pictures that look as a [`Style`] says, a legend below them included |
//! | `cutout` | some classes before a transparent background |
//! | `write_mask`, `write_ids` | the label map as a PNG, with a palette or in grey |
//! | `write_rle` | COCO results, as `pycocotools` reads them |
//! | `regions`, `write_geojson` | exact polygons with holes |
//! | `found`, `write_json` | what is in the image, and how much of it |

mod borders;
mod colors;
mod cutout;
mod distance;
mod fill;
mod geojson;
mod indexed;
mod json;
mod legend;
mod matte;
mod names;
mod outline;
mod overlay;
mod regions;
mod rle;
mod statistics;
mod style;
#[cfg(test)]
mod tests;
mod text;

pub use regions::{Polygon, Region, Ring};
pub use rle::Rle;
pub use statistics::Found;
pub use style::{Legend, Palette, Style};
