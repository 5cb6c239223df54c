//! The classes' colours over the photograph.

use image::RgbImage;
use rayon::prelude::*;

use crate::labels::MAX_CLASSES;
use crate::segment::Segmentation;

impl Segmentation {
    /// The photograph with each class's colour over it: `opacity` 0 is the photograph, 1 the colours alone; values
    /// beyond are taken as these, NaN as 0.
    ///
    /// Pixels of the background class, where the labels have one, and ignored pixels stay as they are.
    pub fn overlay(&self, opacity: f32) -> RgbImage {
        let opacity = if opacity.is_nan() { 0.0 } else { opacity.clamp(0.0, 1.0) };
        let palette = self.labels().png_palette();
        let drawn: [bool; MAX_CLASSES] = std::array::from_fn(|id| self.draws(id as u8));

        let mut picture = self.image().clone();
        let width = self.width() as usize;
        picture.par_chunks_exact_mut(3 * width).zip(self.ids().par_chunks_exact(width)).for_each(|(row, ids)| {
            for (pixel, &id) in row.chunks_exact_mut(3).zip(ids) {
                if drawn[usize::from(id)] {
                    for (value, color) in pixel.iter_mut().zip(palette[usize::from(id)]) {
                        *value = blend(*value, color, opacity);
                    }
                }
            }
        });
        picture
    }
}

fn blend(photo: u8, color: u8, opacity: f32) -> u8 {
    let (photo, color) = (f32::from(photo), f32::from(color));
    (photo + (color - photo) * opacity).round() as u8
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::labels::Labels;

    fn overlaid(labels: Labels, ids: Vec<u8>, opacity: f32) -> Vec<[u8; 3]> {
        let photo = RgbImage::from_pixel(ids.len() as u32, 1, Rgb([100, 50, 200]));
        let segmentation = Segmentation::new(ids, labels, photo).unwrap();
        segmentation.overlay(opacity).pixels().map(|pixel| pixel.0).collect()
    }

    #[test]
    fn the_background_stays_as_it_is() {
        // Person is 192, 128, 128.
        assert_eq!(overlaid(Labels::voc(), vec![0, 15, 255], 0.5), [[100, 50, 200], [146, 89, 164], [100, 50, 200]]);
        assert_eq!(overlaid(Labels::ade20k(), vec![0], 1.0), [[100, 50, 200]]);
    }

    #[test]
    fn without_a_background_every_class_is_drawn() {
        // Cityscapes' class 0 is road, 128, 64, 128.
        assert_eq!(overlaid(Labels::cityscapes(), vec![0], 1.0), [[128, 64, 128]]);
    }

    #[test]
    fn opacity_runs_from_the_photograph_to_the_colours() {
        for (opacity, expected) in [
            (0.0, [100, 50, 200]),
            (0.6, [155, 97, 157]),
            (1.0, [192, 128, 128]),
            (-3.0, [100, 50, 200]),
            (7.0, [192, 128, 128]),
            (f32::NAN, [100, 50, 200]),
        ] {
            assert_eq!(overlaid(Labels::voc(), vec![15], opacity), [expected], "{opacity}");
        }
    }
}
