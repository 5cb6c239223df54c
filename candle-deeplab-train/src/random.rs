//! Streams of random numbers, each of which depends only on a seed and a name or numbers, so that a run can be resumed
//! anywhere, by any number of threads.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The stream of a seed for a name.
pub(crate) fn named(seed: u64, name: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(name.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte))))
}

/// The stream of a seed for a purpose and two numbers, e.g. a batch and a place in it. No two share a key.
pub(crate) fn numbered(seed: u64, purpose: Purpose, [a, b]: [u64; 2]) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.as_chunks_mut().0.iter_mut().zip([seed, purpose as u64, a, b]) {
        *bytes = word.to_le_bytes();
    }
    ChaCha8Rng::from_seed(key)
}

/// What random numbers are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The order of an epoch's samples.
    Order = 1,
    /// The augmentation of a sample.
    Augmentation = 2,
    /// The elements that are dropped in a batch.
    Dropout = 3,
}

/// The numbers below `count` in random order (Fisher and Yates).
pub(crate) fn permutation(count: usize, random: &mut impl Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, random.random_range(0..=last));
    }
    order
}

/// The finaliser of splitmix64 (Steele et al. 2014), which turns neighbouring numbers into unrelated ones.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_all_that_it_is_for_and_on_nothing_else() {
        let first = |seed, purpose, numbers| numbered(seed, purpose, numbers).random::<u64>();
        let base = first(7, Purpose::Order, [3, 0]);
        assert_eq!(base, first(7, Purpose::Order, [3, 0]));
        let others = [
            first(8, Purpose::Order, [3, 0]),
            first(7, Purpose::Augmentation, [3, 0]),
            first(7, Purpose::Order, [4, 0]),
            first(7, Purpose::Order, [3, 1]),
            first(7, Purpose::Order, [0, 3]),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn a_permutation_has_each_number_once_and_all_orders_occur() {
        let mut seen = std::collections::BTreeSet::new();
        for epoch in 0..200 {
            let order = permutation(4, &mut numbered(1, Purpose::Order, [epoch, 0]));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
            seen.insert(order);
        }
        assert_eq!(seen.len(), 24);
        assert!(permutation(0, &mut numbered(1, Purpose::Order, [0, 0])).is_empty());
    }
}
