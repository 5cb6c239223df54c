//! Draws the classes' colours without the photograph.

use image::{Rgb, RgbImage};

use super::style::{Palette, Style};
use crate::segment::Segmentation;

impl Segmentation {
    /// A picture with each pixel in the colour of its class in the labels, background and ignored pixels included, as
    /// in the coloured masks of VOC and Cityscapes. Only the legend of the style matters. For files that other programs
    /// read back, [`LabelMap::write_mask`](crate::segment::LabelMap::write_mask) is better.
    pub fn colors(&self, style: &Style) -> RgbImage {
        let palette = self.labels().png_palette();
        let width = self.width() as usize;
        let id_at = |x: u32, y: u32| usize::from(self.ids()[y as usize * width + x as usize]);
        let colors = RgbImage::from_fn(self.width(), self.height(), |x, y| Rgb(palette[id_at(x, y)]));
        let look = self.look(&Style { palette: Palette::Labels, ..style.clone() });
        self.with_legend(&look, style.legend, colors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;

    #[test]
    fn every_pixel_has_its_classes_colour() {
        let ids = vec![0, 15, 255, 1];
        let colors = Segmentation::new(ids, Labels::voc(), RgbImage::new(2, 2)).unwrap().colors(&Style::default());
        let expected = [[0, 0, 0], [192, 128, 128], [224, 224, 192], [128, 0, 0]];
        assert_eq!(colors.pixels().map(|pixel| pixel.0).collect::<Vec<_>>(), expected);
    }
}
