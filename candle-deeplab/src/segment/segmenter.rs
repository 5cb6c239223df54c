//! A network with everything around it: image in, label map out.

use candle_core::{Device, Module};
use image::{DynamicImage, RgbImage};

use super::{Answer, MultiScale, Scores, Segmentation, Tiles};
use crate::config::Preprocessing;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::labels::Labels;
use crate::model::DeepLab;

/// Segments images of any size: preprocess, run the network, and bring its answer back to the image's own pixels.
///
/// `M` is the network, usually [`DeepLab`]; any candle [`Module`] from `[1, 3, H, W]` to `[1, classes, H, W]` will do.
#[derive(Debug, Clone)]
pub struct Segmenter<M = DeepLab> {
    pub(super) model: M,
    pub(super) answer: Answer,
    pub(super) preprocessing: Preprocessing,
    pub(super) labels: Labels,
    pub(super) device: Device,
    tiles: Option<Tiles>,
}

impl Segmenter {
    /// A segmenter that preprocesses and names classes as the model's config says, on the model's device.
    pub fn new(model: DeepLab) -> Self {
        let (preprocessing, labels, device) = surroundings(&model);
        Self::from_parts(model, preprocessing, labels, device)
    }
}

impl Segmenter<MultiScale> {
    /// A segmenter that looks at several scales.
    pub fn multi_scale(model: MultiScale) -> Self {
        let (preprocessing, labels, device) = surroundings(model.model());
        Self { answer: Answer::Probabilities, ..Self::from_parts(model, preprocessing, labels, device) }
    }
}

/// What a network's config and place say of the way to it and back.
fn surroundings(network: &DeepLab) -> (Preprocessing, Labels, Device) {
    let config = network.config();
    (config.preprocessing.clone(), config.labels.clone(), network.device().clone())
}

impl<M: Module> Segmenter<M> {
    /// A segmenter around any network: from preprocessed pixels `[1, 3, H, W]` on `device` to logits
    /// `[1, classes, H, W]`.
    pub fn from_parts(model: M, preprocessing: Preprocessing, labels: Labels, device: Device) -> Self {
        Self { model, answer: Answer::Logits, preprocessing, labels, device, tiles: None }
    }

    /// The network.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Names and colours of the classes.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Cuts images into tiles from now on, or no more; see [`Tiles`].
    pub fn with_tiles(self, tiles: Option<Tiles>) -> Self {
        Self { tiles, ..self }
    }

    /// Finds the class of each of the image's pixels. Transparency is dropped: what it hides is segmented too.
    ///
    /// The logits are cut to the part of the input that the image fills, resized to the image (bilinear, half-pixel:
    /// the inverse of how the image was resized) and only then compared, which gives smoother outlines than resizing
    /// the label map as TensorFlow's exported graphs do. The first of equal logits wins.
    ///
    /// # Errors
    /// [`Error::Input`] for an image without pixels, [`Error::Output`] where the network does not answer with one
    /// logit for each label and input pixel, [`Error::NotANumber`] where one is none, [`Error::Candle`] where it fails.
    pub fn segment(&self, image: &DynamicImage) -> Result<Segmentation> {
        let image = image.to_rgb8();
        let ids = match self.tiles {
            Some(tiles) => self.tiled_label_map(&image, tiles)?,
            None => self.scores(&image)?.label_map()?,
        };
        Segmentation::new(ids, self.labels.clone(), image)
    }

    /// Does what [`segment`](Self::segment) does, and gives the probabilities, too. With [tiles](Self::with_tiles) they
    /// are kept at the image's size.
    ///
    /// # Errors
    /// As [`segment`](Self::segment).
    pub fn segment_with_scores(&self, image: &DynamicImage) -> Result<(Segmentation, Scores)> {
        let image = image.to_rgb8();
        let scores = match self.tiles {
            Some(tiles) => self.tiled_scores(&image, tiles)?,
            None => self.scores(&image)?,
        };
        Ok((Segmentation::new(scores.label_map()?, self.labels.clone(), image)?, scores))
    }

    fn scores(&self, image: &RgbImage) -> Result<Scores> {
        let prepared = self.preprocessing.prepare(image, &self.device)?;
        let answer = self.model.forward(&prepared.pixels)?;
        Scores::new(&answer, self.answer, self.labels.names.len(), &prepared.geometry)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Tensor};
    use image::Rgb;

    use super::*;
    use crate::config::{Filter, SizeRule};
    use crate::error::Error;

    fn preprocessing(size: SizeRule) -> Preprocessing {
        let (mean, std) = ([0.0; 3], [255.0; 3]);
        Preprocessing { mean, std, pad_value: [255.0; 3], size, filter: Filter::Bilinear }
    }

    fn three_classes() -> Labels {
        Labels { background: Some(0), ..Labels::numbered(3) }
    }

    /// A network that calls the strongest colour the class: red 0, green 1, blue 2.
    fn by_color(size: SizeRule) -> Segmenter<impl Module> {
        let network = |pixels: &Tensor| pixels.affine(4.0, -1.0);
        Segmenter::from_parts(network, preprocessing(size), three_classes(), Device::Cpu)
    }

    /// Red on the left, green on the right, a blue bar at the bottom.
    fn flag(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| match (x < width / 2, y < height * 3 / 4) {
            (_, false) => Rgb([0, 0, 255]),
            (true, _) => Rgb([255, 0, 0]),
            (false, _) => Rgb([0, 255, 0]),
        })
    }

    fn strongest(image: &RgbImage) -> Vec<u8> {
        image.pixels().map(|p| (0..3).max_by_key(|&c| p.0[c]).unwrap() as u8).collect()
    }

    /// Whatever the sizes, each pixel gets its own class, except where resizing blurs two colours.
    #[test]
    fn every_size_rule_brings_the_classes_back_to_their_pixels() {
        let rules = [
            SizeRule::Fit { height: 65, width: 65 },
            SizeRule::Stretch { height: 50, width: 81 },
            SizeRule::Native { height: 33, width: 33 },
        ];
        for rule in rules {
            for (width, height) in [(64, 48), (20, 12), (200, 140), (65, 65), (30, 200)] {
                let image = flag(width, height);
                let segmentation = by_color(rule).segment(&image.clone().into()).unwrap();
                assert_eq!((segmentation.width(), segmentation.height()), (width, height));
                let wrong = segmentation.ids().iter().zip(strongest(&image)).filter(|(a, b)| **a != *b).count();
                // The outlines are as long as the image is wide plus high; a pixel to either side may go astray.
                let outline = 2 * (width + height) as usize;
                assert!(wrong <= outline / 4, "{rule:?} {width}×{height}: {wrong} wrong of {outline}");
                if matches!(rule, SizeRule::Native { .. }) {
                    assert_eq!(wrong, 0);
                }
            }
        }
    }

    #[test]
    fn padding_is_never_seen() {
        // The padding is white, a tie that class 0 wins; the image has no class 0.
        let image = RgbImage::from_pixel(31, 9, Rgb([0, 0, 255]));
        let segmentation = by_color(SizeRule::Fit { height: 40, width: 40 }).segment(&image.into()).unwrap();
        assert_eq!(segmentation.ids(), [2; 31 * 9]);
    }

    /// The same answer whether the logits lie in memory as rows of each class or as classes of each pixel, and in
    /// half precision.
    #[test]
    fn the_layout_and_type_of_the_logits_do_not_matter() {
        let image = DynamicImage::from(flag(50, 40));
        let rule = SizeRule::Fit { height: 33, width: 33 };
        let expected = by_color(rule).segment(&image).unwrap();
        let channels_last =
            |pixels: &Tensor| pixels.affine(4.0, -1.0)?.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2));
        let half = |pixels: &Tensor| pixels.affine(4.0, -1.0)?.to_dtype(DType::BF16);
        let parts = || (preprocessing(rule), three_classes(), Device::Cpu);
        let (p, l, d) = parts();
        assert_eq!(Segmenter::from_parts(channels_last, p, l, d).segment(&image).unwrap().ids(), expected.ids());
        let (p, l, d) = parts();
        let rounded = Segmenter::from_parts(half, p, l, d).segment(&image).unwrap();
        let differing = rounded.ids().iter().zip(expected.ids()).filter(|(a, b)| a != b).count();
        assert!(differing <= 20, "{differing}");
    }

    #[test]
    fn a_network_that_answers_in_another_shape_is_an_error() {
        let rule = SizeRule::Fit { height: 9, width: 9 };
        let image = DynamicImage::from(flag(9, 9));
        let few = |pixels: &Tensor| pixels.narrow(1, 0, 2);
        let small = |pixels: &Tensor| pixels.narrow(2, 0, 3);
        let (p, l) = (preprocessing(rule), three_classes());
        let few = Segmenter::from_parts(few, p.clone(), l.clone(), Device::Cpu).segment(&image).unwrap_err();
        let small = Segmenter::from_parts(small, p, l, Device::Cpu).segment(&image).unwrap_err();
        assert!(matches!(few, Error::Output { expected: [1, 3, 9, 9], .. }), "{few}");
        assert!(matches!(small, Error::Output { expected: [1, 3, 9, 9], .. }), "{small}");
    }

    #[test]
    fn logits_that_are_no_numbers_are_an_error_and_no_answer() {
        let network = |pixels: &Tensor| pixels.affine(f64::NAN, 0.0);
        let rule = SizeRule::Fit { height: 9, width: 9 };
        let segmenter = Segmenter::from_parts(network, preprocessing(rule), three_classes(), Device::Cpu);
        assert!(matches!(segmenter.segment(&flag(14, 12).into()), Err(Error::NotANumber)));
    }
}
