//! Scores of label maps against ground truth: from counted pixels to mIoU.
//!
//! A [`Confusion`] counts, for each class of the ground truth, what was predicted. Everything else follows from it:
//!
//! | score | of a class | over all classes |
//! |---|---|---|
//! | IoU | correct / (labelled + predicted − correct) | the mean: mIoU; weighted by labelled pixels: frequency-weighted IoU |
//! | accuracy (recall) | correct / labelled | the mean: mean accuracy |
//! | precision | correct / predicted | the mean |
//! | F1 (Dice) | 2 · correct / (labelled + predicted) | the mean |
//! | pixel accuracy | | all correct / all labelled |
//!
//! # Classes that are absent
//! A score whose denominator is 0 does not exist (`None`), and means leave it out, as mmsegmentation's `nanmean` does
//! (`mmseg/evaluation/metrics/iou_metric.py`, `total_area_to_metrics`) and torchmetrics' `MulticlassJaccardIndex`. So a
//! class that is neither in the ground truth nor predicted does not count; one that is predicted and not in the ground
//! truth has an IoU of 0, and lowers the mean.
//!
//! # Ignored pixels
//! Pixels whose label is the ignore value count nowhere, whatever is predicted there.

mod confusion;
#[cfg(test)]
mod tests;
mod trimap;

pub use confusion::{ClassScores, Confusion};
pub use trimap::{Band, Trimap};
