//! Blocks of pixels: what a thread computes at once.

/// Floats of a block's inputs, which share a core's L2 cache (512 KiB and more) with a panel of weights.
const BLOCK_FLOATS: usize = 40 << 10;

/// The fewest pixels of a block, however many channels they have: each block reads all weights once, from the
/// last-level cache or from memory.
const MIN_PIXELS: usize = 96;

/// How many pixels with this number of inputs fit into the cache.
pub(super) fn fitting_pixels(inputs: usize) -> usize {
    (BLOCK_FLOATS / inputs.max(1)).max(MIN_PIXELS)
}

/// The pixels of a block: a multiple of `step` and, if that is possible, at most `most`. Of these sizes, it is the one
/// with which the threads are done soonest.
pub(super) fn block_pixels(pixels: usize, most: usize, step: usize) -> usize {
    let (steps, threads) = (pixels.div_ceil(step).max(1), rayon::current_num_threads());
    let fitting = (most / step).clamp(1, steps);
    let least = fitting.div_ceil(2).min(steps.div_ceil(threads));
    // All blocks take the same time: while a leftover block is computed at the end, all threads but one wait.
    let done = |block: usize| steps.div_ceil(block).div_ceil(threads) * block;
    let block = (least..=fitting).rev().min_by_key(|block| done(*block)).unwrap_or(fitting);
    block * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_steps_that_keep_all_threads_busy() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| {
            // Two blocks of 60 are done before one of 96 and the rest are.
            assert_eq!(block_pixels(120, 96, 6), 60);
            assert_eq!(block_pixels(5, 96, 6), 6);
            for pixels in 1..500 {
                let block = block_pixels(pixels, 96, 8);
                assert!(block.is_multiple_of(8) && (8..=96).contains(&block), "{pixels}: {block}");
            }
        });
    }
}
