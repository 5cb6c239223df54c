//! The Lovász extension of the Jaccard loss.

use rayon::prelude::*;

use super::hard::{index, rank};

/// The Lovász loss of one class, and its derivative for each pixel's error (Berman et al. 2018, algorithm 1;
/// `lovasz_losses.py`, `lovasz_grad`).
///
/// A pixel's error is `1 − p` where its label is the class (`member`), and `p` elsewhere. The loss is the sum of the
/// errors, from the greatest to the least, each multiplied by what it adds to the Jaccard loss of those before it.
pub(super) fn lovasz(errors: &[f32], member: impl Fn(usize) -> bool) -> (f64, Vec<f32>) {
    let mut order: Vec<u64> = errors.iter().enumerate().map(|(pixel, &error)| rank(error, pixel)).collect();
    // The ranks differ from each other, so that any way of sorting gives the same order.
    order.par_sort_unstable();
    let members = (0..errors.len()).filter(|&pixel| member(pixel)).count() as f64;
    let (mut intersection, mut union, mut before, mut loss) = (members, members, 0.0, 0.0);
    let mut derivative = vec![0.0; errors.len()];
    for pixel in order.into_iter().map(index) {
        if member(pixel) {
            intersection -= 1.0;
        } else {
            union += 1.0;
        }
        let jaccard = 1.0 - intersection / union;
        derivative[pixel] = (jaccard - before) as f32;
        loss += f64::from(errors[pixel]) * (jaccard - before);
        before = jaccard;
    }
    (loss, derivative)
}
