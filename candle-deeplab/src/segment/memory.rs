//! Chooses tiles that fit into memory.

use super::Tiles;
use crate::config::SizeRule;
use crate::error::Result;

/// The smallest side of automatically chosen tiles; smaller ones give the network too little context.
const LEAST_SIDE: usize = 257;

/// Returns the largest tiles that fit, or the smallest if none do. Their sides are those of the rule's input, halved
/// until they fit.
pub(super) fn tiles_that_fit(rule: SizeRule, overlap: usize, fits: impl Fn(Tiles) -> bool) -> Result<Tiles> {
    let (SizeRule::Native { height, width } | SizeRule::Fit { height, width } | SizeRule::Stretch { height, width }) =
        rule;
    // A model may accept any size, however small.
    let (mut height, mut width) = (height.max(2 * LEAST_SIDE - 1), width.max(2 * LEAST_SIDE - 1));
    loop {
        // With these sides the overlap is never too large.
        let tiles = Tiles::new(height, width, overlap.min(height / 2).min(width / 2))?;
        if fits(tiles) || height.min(width) / 2 < LEAST_SIDE - 1 {
            return Ok(tiles);
        }
        (height, width) = (height.div_ceil(2), width.div_ceil(2));
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use image::{Rgb, RgbImage};

    use super::*;
    use crate::config::{Filter, Preprocessing};
    use crate::error::Error;
    use crate::graph::Size;
    use crate::labels::Labels;
    use crate::segment::{Predictor, Segmenter, Wanted};

    /// A network whose class is the strongest colour, and which says that it takes 100 bytes for each pixel.
    struct Hungry;

    impl Predictor for Hungry {
        fn predict(&self, pixels: &Tensor) -> Result<Tensor> {
            Ok(pixels.affine(1.0, 0.0)?)
        }

        fn memory(&self, input: Size) -> Result<Option<u64>> {
            Ok(Some(100 * input.area() as u64))
        }
    }

    fn segmenter(size: SizeRule) -> Segmenter {
        let (mean, std) = ([0.0; 3], [255.0; 3]);
        let preprocessing = Preprocessing { mean, std, pad_value: mean, size, filter: Filter::Bilinear };
        Segmenter::from_parts(Hungry, preprocessing, Labels::numbered(3), Device::Cpu)
    }

    fn bars(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, _| Rgb([[255, 0, 0], [0, 255, 0], [0, 0, 255]][(x / 200 % 3) as usize]))
    }

    #[test]
    fn an_image_is_cut_where_it_does_not_fit_and_only_there() {
        let (whole, image) = (segmenter(SizeRule::Native { height: 513, width: 513 }), bars(1300, 1000));
        let size = Size::new(1000, 1300);
        let tiled = |limit: u64| {
            let segmented = whole.clone().with_memory_limit(Some(limit), 64).run(image.clone(), Wanted::LabelMap);
            segmented.map(|segmented| {
                assert_eq!(segmented.segmentation.ids(), whole.segment(&image.clone().into()).unwrap().ids());
                segmented.tiled.map(|(tiles, count)| (tiles.size().height, tiles.overlap(), count))
            })
        };
        let needed = whole.memory(size).unwrap().unwrap();
        // Feature maps, pixels and scores.
        assert_eq!(needed, (100 + 12 + 12) * 1_300_000);
        assert_eq!(tiled(needed).unwrap(), None);
        assert_eq!(tiled(needed - 1).unwrap(), Some((513, 64, 9)));
        let tiles =
            |side| whole.clone().with_tiles(Some(Tiles::new(side, side, 64).unwrap())).memory(size).unwrap().unwrap();
        assert!(tiles(257) < tiles(513) && tiles(513) < needed);
        assert_eq!(tiled(tiles(513)).unwrap(), Some((513, 64, 9)));
        assert_eq!(tiled(tiles(513) - 1).unwrap().unwrap().0, 257);
        let error = tiled(tiles(257) - 1).unwrap_err();
        assert!(matches!(&error, Error::Memory { needed, .. } if *needed == tiles(257)), "{error}");
        assert!(error.to_string().contains("1300×1000"), "{error}");
    }

    /// A config may require an input size that does not fit into memory.
    #[test]
    fn what_the_size_rule_makes_of_an_image_is_cut_too() {
        let size = SizeRule::Stretch { height: 800, width: 1200 };
        let (whole, image) = (segmenter(size), bars(600, 400));
        let limited = whole.clone().with_memory_limit(Some(80_000_000), 32);
        let segmented = limited.run(image.clone(), Wanted::Scores).unwrap();
        let (tiles, count) = segmented.tiled.unwrap();
        assert_eq!((tiles.size(), count), (Size::new(400, 600), 9));
        let expected = whole.segment(&image.clone().into()).unwrap();
        assert_eq!(segmented.segmentation.ids(), expected.ids());
        assert_eq!(segmented.scores.unwrap().tensor().dims(), [3, 800, 1200]);
        assert_eq!(limited.segment(&image.into()).unwrap().ids(), expected.ids());
    }

    #[test]
    fn scores_that_do_not_fit_are_left_out_or_an_error() {
        let (size, image) = (SizeRule::Native { height: 1, width: 1 }, bars(3000, 2000));
        // The scores at the image's size are 72 MB.
        let limited = segmenter(size).with_memory_limit(Some(60_000_000), 0);
        assert!(matches!(limited.run(image.clone(), Wanted::Scores), Err(Error::Memory { what: "the scores", .. })));
        let without = limited.run(image, Wanted::ScoresIfTheyFit).unwrap();
        assert!(without.scores.is_none() && without.tiled.is_some());
    }
}
