//! Whether an image fits into memory, and the tiles that do.

use candle_deeplab::DeepLab;
use candle_deeplab::config::SizeRule;
use candle_deeplab::pixels::Size;
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
    use std::path::Path;

    use candle_core::Device;

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_says_how_much_is_free() {
        assert!(budget().unwrap() > 1 << 20);
    }

    /// The narrow network of the goldens, as it is or seeing images at full size.
    fn model(native: bool) -> DeepLab {
        let dir = tempfile::tempdir().unwrap();
        let graph =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/xception65_narrow/frozen_inference_graph.pb");
        weights_convert::convert(&graph, dir.path(), &weights_convert::Options::default(), true).unwrap();
        if native {
            let path = dir.path().join(candle_deeplab::CONFIG_FILE);
            let config = std::fs::read_to_string(&path).unwrap();
            assert!(config.contains(r#""fit""#));
            std::fs::write(path, config.replace(r#""fit""#, r#""native""#)).unwrap();
        }
        DeepLab::load(dir.path(), &Device::Cpu).unwrap()
    }

    #[test]
    fn an_image_is_cut_where_it_does_not_fit_and_only_there() {
        let (model, image) = (model(true), Size::new(3000, 4000));
        let whole = model.memory(image, None, &[]).unwrap();
        assert!(whole > (3 + 21) * 4 * 12_000_000, "{whole}");
        assert_eq!(tiles(&model, image, &[], 64, whole), None);
        let largest = tiles(&model, image, &[], 64, whole - 1).unwrap();
        assert_eq!((largest.size(), largest.overlap()), (Size::new(513, 513), 64));
        let needed = model.memory(image, Some(largest), &[]).unwrap();
        assert!(needed < whole);
        assert_eq!(tiles(&model, image, &[], 64, needed), Some(largest));
        assert_eq!(tiles(&model, image, &[], 64, needed - 1).unwrap().size(), Size::new(257, 257));
        // There is no end to what is needed, but one to what makes sense.
        assert_eq!(tiles(&model, image, &[], 64, 0).unwrap().size(), Size::new(257, 257));
        assert!(model.memory(image, None, &[0.5, 1.75]).unwrap() > whole);
    }

    #[test]
    fn a_model_that_scales_images_needs_no_tiles() {
        assert_eq!(tiles(&model(false), Size::new(30_000, 40_000), &[], 64, 0), None);
    }
}
