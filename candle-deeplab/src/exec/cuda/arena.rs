//! Places the buffers of a call in one stretch of memory.

use std::ops::RangeInclusive;

/// Where every buffer begins, in bytes. Loads of 16 bytes need a sixteenth of it, cuBLASLt's fastest kernels all.
pub(super) const ALIGNMENT: usize = 256;

/// The offset of each buffer, and the length of all memory. Buffers that are in use at the same time lie apart; one that
/// is never in use has no life, and takes no memory.
///
/// The largest go first, each into the smallest gap that holds it (Pisarchyk and Lee 2020, "greedy by size").
pub(super) fn place(lives: &[Option<RangeInclusive<usize>>], sizes: &[usize]) -> (Vec<usize>, usize) {
    let size = |buffer: usize| sizes[buffer].next_multiple_of(ALIGNMENT);
    let mut order: Vec<usize> = (0..sizes.len()).filter(|buffer| lives[*buffer].is_some()).collect();
    order.sort_by_key(|buffer| std::cmp::Reverse(size(*buffer)));
    let (mut offsets, mut placed, mut end) = (vec![0; sizes.len()], Vec::<usize>::new(), 0);
    for buffer in order {
        let meets = |other: &&usize| overlap(&lives[buffer], &lives[**other]);
        let mut taken: Vec<(usize, usize)> =
            placed.iter().filter(meets).map(|other| (offsets[*other], offsets[*other] + size(*other))).collect();
        taken.sort_unstable();
        // The smallest gap so far, and where the memory is free from.
        let (mut best, mut free) = (None::<(usize, usize)>, 0);
        for (from, to) in taken {
            let gap = from.saturating_sub(free);
            if gap >= size(buffer) && best.is_none_or(|(smallest, _)| gap < smallest) {
                best = Some((gap, free));
            }
            free = free.max(to);
        }
        offsets[buffer] = best.map_or(free, |(_, offset)| offset);
        end = end.max(offsets[buffer] + size(buffer));
        placed.push(buffer);
    }
    (offsets, end)
}

fn overlap(a: &Option<RangeInclusive<usize>>, b: &Option<RangeInclusive<usize>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.start() <= b.end() && b.start() <= a.end(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// No two buffers are in one place at one time, and no more is taken than without sharing.
        #[test]
        fn buffers_that_live_together_lie_apart(
            buffers in prop::collection::vec((0usize..30, 0usize..30, 0usize..5000, any::<bool>()), 0..40),
        ) {
            let life = |&(a, b, _, lives): &(usize, usize, usize, bool)| lives.then(|| a.min(b)..=a.max(b));
            let lives: Vec<_> = buffers.iter().map(life).collect();
            let sizes: Vec<usize> = buffers.iter().map(|buffer| buffer.2).collect();
            let (offsets, end) = place(&lives, &sizes);
            for a in 0..sizes.len() {
                prop_assert!(offsets[a] % ALIGNMENT == 0);
                prop_assert!(lives[a].is_none() || offsets[a] + sizes[a] <= end);
                for b in 0..a {
                    let apart = offsets[a] + sizes[a] <= offsets[b] || offsets[b] + sizes[b] <= offsets[a];
                    prop_assert!(apart || !overlap(&lives[a], &lives[b]), "{a} and {b}");
                }
            }
            prop_assert!(end <= sizes.iter().map(|size| size.next_multiple_of(ALIGNMENT)).sum::<usize>());
        }
    }

    #[test]
    fn a_chain_takes_as_much_as_its_largest_neighbours() {
        let lives: Vec<_> = [0..=1, 1..=2, 2..=3, 3..=4].into_iter().map(Some).collect();
        let (_, end) = place(&lives, &[1024, 2048, 512, 4096]);
        assert_eq!(end, 512 + 4096);
    }

    #[test]
    fn a_gap_that_is_large_enough_is_used() {
        // The first two lie side by side; the third replaces the first, and the fourth fits behind it.
        let lives: Vec<_> = [0..=1, 0..=3, 2..=3, 2..=3].into_iter().map(Some).collect();
        let (offsets, end) = place(&lives, &[4096, 8192, 2048, 1024]);
        assert_eq!((end, offsets), (12288, vec![8192, 0, 8192, 10240]));
    }
}
