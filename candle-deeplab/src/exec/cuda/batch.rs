//! How many images fit into the GPU's memory together.

use crate::error::Result;

/// The largest number of images, up to `most`, for which a call takes no more than `free` bytes; 0 where not even one
/// fits. `bytes` says how much a number of images takes, which grows with it.
///
/// # Errors
/// Those of `bytes` for one image.
pub(super) fn largest_batch(most: usize, free: u64, bytes: impl Fn(usize) -> Result<u64>) -> Result<usize> {
    bytes(1)?;
    let fits = |batch: usize| bytes(batch).is_ok_and(|bytes| bytes <= free);
    let (mut least, mut too_many) = (0, most + 1);
    while too_many - least > 1 {
        let middle = least + (too_many - least) / 2;
        if fits(middle) {
            least = middle;
        } else {
            too_many = middle;
        }
    }
    Ok(least)
}
