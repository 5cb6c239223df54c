//! How sure the network is, as a picture.

use std::io::{self, Write};

use crate::segment::{LabelMap, Scores};

impl Scores {
    /// Writes how sure the network is of each of the image's pixels: the probability of the likeliest class, as a grey
    /// 8-bit PNG in which 255 is certainty.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_confidence(&self, to: impl Write) -> io::Result<()> {
        let mut values = Vec::with_capacity(self.image().area());
        self.each_probability(|_, block| {
            let greatest = |pixel: &[f32]| pixel.iter().copied().fold(0.0, f32::max);
            values.extend(block.chunks_exact(self.classes()).map(|pixel| (255.0 * greatest(pixel)).round() as u8));
            Ok(())
        })?;
        LabelMap::new(values, self.image()).map_err(io::Error::other)?.write_ids(to)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use image::RgbImage;

    use crate::config::{Filter, Preprocessing, SizeRule};
    use crate::labels::Labels;
    use crate::segment::Segmenter;

    #[test]
    fn a_pixels_grey_is_the_probability_of_its_class() {
        // Logits of 0, 1 and 2 times a pixel's red, of a black and a white pixel.
        let network = |pixels: &Tensor| {
            let red = pixels.narrow(1, 0, 1)?;
            Tensor::cat(&[red.affine(0.0, 0.0)?, red.affine(1.0, 0.0)?, red.affine(2.0, 0.0)?], 1)
        };
        let preprocessing = Preprocessing {
            mean: [0.0; 3],
            std: [255.0; 3],
            pad_value: [0.0; 3],
            size: SizeRule::Native { height: 1, width: 1 },
            filter: Filter::Bilinear,
        };
        let segmenter = Segmenter::from_parts(network, preprocessing, Labels::numbered(3), Device::Cpu);
        let image = RgbImage::from_fn(2, 1, |x, _| image::Rgb([255 * x as u8; 3]));
        let (_, scores) = segmenter.segment_with_scores(&image.into()).unwrap();
        let mut bytes = vec![];
        scores.write_confidence(&mut bytes).unwrap();
        let picture = image::load_from_memory(&bytes).unwrap();
        assert_eq!(picture.color(), image::ColorType::L8);
        let e = std::f64::consts::E;
        let white = (255.0 * e * e / (1.0 + e + e * e)).round() as u8;
        assert_eq!(picture.into_luma8().into_raw(), [85, white]);
    }
}
