//! What is counted in one image.

use candle_deeplab::LabelMap;
use candle_deeplab::graph::Size;
use candle_deeplab::metrics::{Confusion, Trimap};
use image::GrayImage;
use serde::{Deserialize, Serialize};

use crate::data::IGNORE;
use crate::error::Result;

/// The counts of an image, and a line of the state of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counted {
    pub(super) name: String,
    pub(super) confusion: Confusion,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trimap: Option<Trimap>,
    /// Whether memory made it necessary to cut the image into tiles.
    #[serde(default)]
    pub(super) tiled: bool,
    /// The time since the image before it was done.
    pub(super) seconds: f64,
}

impl Counted {
    pub(super) fn new(
        name: &str,
        classes: usize,
        widths: &[u32],
        labels: GrayImage,
        (ids, tiled): (&[u8], bool),
    ) -> Result<Self> {
        let mut confusion = Confusion::new(classes)?;
        confusion.add(&labels, ids, Some(IGNORE))?;
        let mut trimap = None;
        if !widths.is_empty() {
            let size = Size::new(labels.height() as usize, labels.width() as usize);
            let labels = LabelMap::new(labels.into_raw(), size)?;
            trimap.insert(Trimap::new(classes, widths)?).add(&labels, ids, Some(IGNORE))?;
        }
        Ok(Self { name: name.to_owned(), confusion, trimap, tiled, seconds: 0.0 })
    }
}
