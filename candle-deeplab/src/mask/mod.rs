//! Pictures, files and statistics of segmentations.
//!
//! Pictures need the image, and are methods of [`Segmentation`](crate::segment::Segmentation):
//!
//! | method | what |
//! |---|---|
//! | `overlay`, `contours`, `colors` | pictures drawn in a [`Style`], optionally with a legend below them |
//! | `cutout` | some classes on a transparent background |
//!
//! The others are methods of [`LabelMap`](crate::segment::LabelMap), so that ground truth has them, too. Names and
//! colours come from [`Labels`](crate::Labels):
//!
//! | method | what |
//! |---|---|
//! | `write_mask`, `write_ids`, `write_npy` | all ids, as a PNG with a palette or in grey, or as a numpy array |
//! | `write_rle` | COCO results, as `pycocotools` reads them |
//! | `regions`, `write_geojson` | exact polygons with holes |
//! | `found`, `write_json` | which classes are in the image, and how much of it they cover |
//! | `squared_distances_to_borders` | how far each pixel is from the nearest one with another id |

mod borders;
mod colors;
mod confidence;
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
pub use statistics::Coverage;
pub use style::{Legend, Palette, Style};
