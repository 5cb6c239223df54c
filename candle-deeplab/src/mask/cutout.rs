//! Cuts classes out of their background.

use image::RgbaImage;
use rayon::prelude::*;

use super::matte::{Matte, Place, size_for};
use crate::error::{Error, Result};
use crate::graph::Axis;
use crate::labels::MAX_CLASSES;
use crate::pixels::Size;
use crate::segment::{Scores, Segmentation};

impl Segmentation {
    /// The image where it shows one of `classes`, and transparency elsewhere. Fully transparent pixels are black, so
    /// that the hidden image cannot be recovered.
    ///
    /// With the `scores` of this image, the edge is soft. It lies where the summed probability of the classes equals
    /// that of the likeliest other class; nearby, within the network's likely error, it follows the edges of the
    /// photograph. Pixels that are partly transparent have the colour of the foreground alone, without the background.
    /// Without scores, each pixel is opaque or transparent, as the label map says.
    ///
    /// # Errors
    /// [`Error::Mask`] where the scores are those of an image of another size.
    pub fn cutout(&self, classes: &[u8], scores: Option<&Scores>) -> Result<RgbaImage> {
        let mut picture = RgbaImage::new(self.width(), self.height());
        let Some(scores) = scores else {
            let mut kept = [false; MAX_CLASSES];
            classes.iter().for_each(|class| kept[usize::from(*class)] = true);
            for ((to, from), &id) in picture.pixels_mut().zip(self.image().pixels()).zip(self.ids()) {
                if kept[usize::from(id)] {
                    let [red, green, blue] = from.0;
                    to.0 = [red, green, blue, 255];
                }
            }
            return Ok(picture);
        };
        let (width, height) = (self.width() as usize, self.height() as usize);
        if scores.image() != Size::new(height, width) {
            let Size { height: h, width: w } = scores.image();
            return Err(Error::Mask(format!("scores of {w}×{h} pixels do not belong to an image of {width}×{height}")));
        }
        let (columns, rows) = size_for(self.width(), self.height());
        let probability = scores.probability_of(classes, Size::new(rows as usize, columns as usize))?;
        let matte = Matte::new(self.image(), &probability);
        let columns = Axis::new(columns as usize, width, false).0;
        let rows = Axis::new(rows as usize, height, false).0;
        picture.par_chunks_exact_mut(4 * width).zip(self.image().par_chunks_exact(3 * width)).zip(&rows).for_each(
            |((to, from), row)| {
                let [above, below] = [row.near, row.far].map(|y| &matte.places[y * matte.width..][..matte.width]);
                let pixels = to.as_chunks_mut().0.iter_mut().zip(from.as_chunks().0);
                for ((to, from), column) in pixels.zip(&columns) {
                    let corners = [&above[column.near], &above[column.far], &below[column.near], &below[column.far]];
                    *to = match Place::settled(corners) {
                        Some(false) => [0; 4],
                        Some(true) => [from[0], from[1], from[2], 255],
                        None => {
                            let [above, below] = [0, 2].map(|i| corners[i].between(corners[i + 1], column.weight));
                            above.between(&below, row.weight).cut(*from)
                        }
                    };
                }
            },
        );
        Ok(picture)
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
        let left = |classes: &[u8]| {
            segmentation.cutout(classes, None).unwrap().pixels().map(|pixel| pixel.0).collect::<Vec<_>>()
        };
        let (shown, hidden) = ([9, 8, 7, 255], [0; 4]);
        assert_eq!(left(&[15]), [hidden, shown, hidden, hidden]);
        assert_eq!(left(&[8, 15]), [hidden, shown, shown, hidden]);
        assert_eq!(left(&[]), [hidden; 4]);
    }
}
