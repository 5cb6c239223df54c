//! Whether an image fits into memory, and the tiles that do.

use candle_deeplab::DeepLab;
use candle_deeplab::config::SizeRule;
use candle_deeplab::image::Size;
use candle_deeplab::segment::Tiles;
use sysinfo::{MemoryRefreshKind, System};

/// Not all that is free is ours: kernels need room of their own, and so do other programs.
const OURS: f64 = 0.7;

/// The least side that tiles are made of by themselves; less shows a network nothing.
const LEAST_SIDE: usize = 257;

/// How many bytes feature maps may take here, where the system says: what is free, or less in a container.
pub(crate) fn budget() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let free = match (system.available_memory(), system.cgroup_limits()) {
        (0, None) => return None,
        (0, Some(limits)) => limits.free_memory,
        (free, None) => free,
        (free, Some(limits)) => free.min(limits.free_memory),
    };
    Some((free as f64 * OURS) as u64)
}

/// The tiles that an image must be cut into to stay within `budget` bytes; `None` where it fits whole, or where the model
/// scales images to a size of its own anyway.
///
/// They are as large as the model's least input, or that halved until they fit.
pub(crate) fn tiles(model: &DeepLab, image: Size, scales: &[f64], overlap: usize, budget: u64) -> Option<Tiles> {
    let SizeRule::Native { mut height, mut width } = model.config().preprocessing.size else {
        return None;
    };
    let fits = |tiles: Option<Tiles>| model.memory(image, tiles, scales).is_ok_and(|bytes| bytes <= budget);
    if fits(None) {
        return None;
    }
    // A model may say that any size will do.
    (height, width) = (height.max(2 * LEAST_SIDE - 1), width.max(2 * LEAST_SIDE - 1));
    loop {
        // With these sides the overlap is never too large.
        let tiles = Tiles::new(height, width, overlap.min(height / 2).min(width / 2)).ok()?;
        let (half_height, half_width) = (height.div_ceil(2), width.div_ceil(2));
        if fits(Some(tiles)) || half_height < LEAST_SIDE || half_width < LEAST_SIDE {
            return Some(tiles);
        }
        (height, width) = (half_height, half_width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_says_how_much_is_free() {
        assert!(budget().unwrap() > 1 << 20);
    }
}
