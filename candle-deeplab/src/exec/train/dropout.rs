//! The masks of dropout.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::mode::Dropout;

/// Numbers that a thread draws at a time.
const TASK: usize = 1 << 14;

/// The factors of a value's numbers: 0 for those that are dropped, `1 / (1 − rate)` for the others. The mask is of the
/// value's shape, or `[N, C, 1, 1]` for whole channels. `stream` tells the masks of one seed apart.
pub(super) fn mask(like: &Tensor, dropout: &Dropout, seed: u64, stream: u64) -> Result<Tensor> {
    let (n, c, height, width) = like.dims4()?;
    let shape = if dropout.channels { (n, c, 1, 1) } else { (n, c, height, width) };
    let mut factors = vec![0f32; shape.0 * shape.1 * shape.2 * shape.3];
    let (key, kept) = (mixed(mixed(seed) ^ stream), (1.0 / (1.0 - dropout.rate)) as f32);
    factors.par_chunks_mut(TASK).enumerate().for_each(|(task, factors)| {
        for (i, factor) in factors.iter_mut().enumerate() {
            let index = (task * TASK + i) as u64;
            // The number at a place depends on nothing else, so threads change nothing.
            let uniform = (mixed(key.wrapping_add(index)) >> 11) as f64 / (1u64 << 53) as f64;
            *factor = if uniform < dropout.rate { 0.0 } else { kept };
        }
    });
    Tensor::from_vec(factors, shape, like.device())?.to_dtype(like.dtype())
}

/// The step of splitmix64 (Steele et al. 2014).
fn mixed(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
