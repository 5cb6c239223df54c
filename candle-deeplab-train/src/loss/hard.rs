//! Which pixels are hard enough to be learnt from.

use super::labels::{IGNORE, LabelMaps};
use super::recipe::HardPixels;

/// What [`HardPixels`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// The pixel's weighted loss.
    Loss,
    /// The probability of the pixel's class.
    Probability,
}

impl HardPixels {
    pub(super) fn measure(&self) -> Measure {
        match self {
            Self::Ohem { threshold: Some(_), .. } => Measure::Probability,
            Self::TopK { .. } | Self::Ohem { threshold: None, .. } => Measure::Loss,
        }
    }

    /// Which pixels count, given the measure of each; that of ignored pixels means nothing. Of equal losses, the first
    /// count.
    pub(super) fn select(&self, measures: &[f32], labels: &LabelMaps, step: usize) -> Vec<bool> {
        let judged = |pixel: &usize| labels.ids[*pixel] != IGNORE;
        let all = labels.ids.len();
        match *self {
            Self::TopK { share, ramp } => {
                let done = if ramp == 0 { 1.0 } else { (step as f64 / ramp as f64).min(1.0) };
                let count = ((done * share + (1.0 - done)) * all as f64) as usize;
                // Pixels without a loss do not count, or they would make the mean smaller. NaN counts.
                greatest(measures, (0..all).filter(judged).filter(|&pixel| measures[pixel] != 0.0), count)
            }
            Self::Ohem { threshold: None, min_kept } => {
                greatest(measures, (0..all).filter(judged), min_kept.saturating_mul(labels.images))
            }
            Self::Ohem { threshold: Some(threshold), min_kept } => {
                let mut sorted: Vec<f32> = (0..all).filter(judged).map(|pixel| measures[pixel]).collect();
                let Some(last) = sorted.len().checked_sub(1) else { return vec![false; all] };
                let place = min_kept.saturating_mul(labels.images).min(last);
                let (_, least, _) = sorted.select_nth_unstable_by(place, f32::total_cmp);
                let limit = least.max(threshold as f32);
                let kept = |pixel: usize| judged(&pixel) && (measures[pixel] < limit || measures[pixel].is_nan());
                (0..all).map(kept).collect()
            }
        }
    }
}

/// The `count` pixels of the greatest measures, which are not negative.
fn greatest(measures: &[f32], pixels: impl Iterator<Item = usize>, count: usize) -> Vec<bool> {
    let mut ranks: Vec<u64> = pixels.map(|pixel| rank(measures[pixel], pixel)).collect();
    if count < ranks.len() {
        ranks.select_nth_unstable(count);
        ranks.truncate(count);
    }
    let mut kept = vec![false; measures.len()];
    ranks.into_iter().for_each(|rank| kept[index(rank)] = true);
    kept
}

/// A number that is smaller for a greater value (which is not negative), and then for a smaller index below 2^32. NaN
/// comes first.
pub(super) fn rank(value: f32, index: usize) -> u64 {
    let magnitude = value.to_bits() & !(1 << 31);
    u64::from(!magnitude) << 32 | index as u64
}

/// The index in a [`rank`].
pub(super) fn index(rank: u64) -> usize {
    rank as u32 as usize
}
