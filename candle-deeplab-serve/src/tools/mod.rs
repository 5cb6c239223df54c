//! Annotation tools that ask a server for their first draft.

mod brush;
pub(crate) mod cvat;
mod label_config;
pub(crate) mod label_studio;

use candle_deeplab::segment::Segmented;

use crate::problem::{Problem, Result};

/// The mean probability of each class over its pixels, from 0 to 1; 1 where it is not known.
fn certainty(image: &Segmented) -> Result<impl Fn(u8) -> f64> {
    let ids = image.segmentation.ids();
    let means = image.scores.as_ref().map(|scores| scores.mean_probabilities(ids)).transpose();
    let means = means.map_err(|error| Problem::internal(&error))?.unwrap_or_default();
    Ok(move |class: u8| means.get(usize::from(class)).copied().filter(|mean| mean.is_finite()).unwrap_or(1.0))
}
