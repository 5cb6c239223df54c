//! Some classes before nothing.

use image::RgbaImage;

use crate::labels::MAX_CLASSES;
use crate::segment::Segmentation;

impl Segmentation {
    /// The image where it shows one of `classes`, and transparency elsewhere. What is transparent is black beneath, so
    /// that nothing can be brought back.
    pub fn cutout(&self, classes: &[u8]) -> RgbaImage {
        let mut kept = [false; MAX_CLASSES];
        classes.iter().for_each(|class| kept[usize::from(*class)] = true);
        let mut picture = RgbaImage::new(self.width(), self.height());
        for ((to, from), &id) in picture.pixels_mut().zip(self.image().pixels()).zip(self.ids()) {
            if kept[usize::from(id)] {
                let [red, green, blue] = from.0;
                to.0 = [red, green, blue, 255];
            }
        }
        picture
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;
    use crate::labels::Labels;

    #[test]
    fn only_the_wanted_classes_are_left() {
        let photo = RgbImage::from_pixel(4, 1, Rgb([9, 8, 7]));
        let segmentation = Segmentation::new(vec![0, 15, 8, 255], Labels::voc(), photo).unwrap();
        let left = |classes: &[u8]| segmentation.cutout(classes).pixels().map(|pixel| pixel.0).collect::<Vec<_>>();
        let (shown, hidden) = ([9, 8, 7, 255], [0; 4]);
        assert_eq!(left(&[15]), [hidden, shown, hidden, hidden]);
        assert_eq!(left(&[8, 15]), [hidden, shown, shown, hidden]);
        assert_eq!(left(&[]), [hidden; 4]);
    }
}
