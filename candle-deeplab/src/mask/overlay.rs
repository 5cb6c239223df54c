//! Draws the classes' colours over the photograph.

use image::RgbImage;
use rayon::prelude::*;

use super::outline::{Ink, Outlines};
use super::style::{Look, Style};
use super::text::{mix, part};
use crate::segment::Segmentation;

impl Segmentation {
    /// The photograph with the classes' colours over it, their outlines, and their names where there is room.
    ///
    /// Where a class is drawn, the photograph beneath loses its colour as it is covered: light and dark remain visible,
    /// but the visible colour is that of the class. Background, ignored pixels and classes that are too small
    /// ([`Style::min_share`]) stay unchanged.
    pub fn overlay(&self, style: &Style) -> RgbImage {
        let opacity = if style.opacity.is_nan() { 0.0 } else { style.opacity.clamp(0.0, 1.0) };
        let (gray, cover) = (part((2.0 * opacity).min(1.0)), part(opacity));
        let look = self.look(style);
        let outlines = style.outlines.then(|| Outlines::of(self, &look, false));
        let mut picture = self.image().clone();
        self.paint(&mut picture, &look, outlines.as_ref(), |pixel, color, ink| {
            if let Some(color) = color {
                let luma = luma(*pixel);
                mix(pixel, [luma; 3], gray);
                mix(pixel, color, cover);
            }
            if let Some(ink) = ink {
                ink.draw(pixel, color);
            }
        });
        self.finish(picture, &look, style)
    }

    /// The photograph with the classes' outlines, each with a band of the class's colour along its inside, and names as
    /// on an [`overlay`](Self::overlay).
    pub fn contours(&self, style: &Style) -> RgbImage {
        let look = self.look(style);
        let outlines = Outlines::of(self, &look, true);
        let mut picture = self.image().clone();
        self.paint(&mut picture, &look, Some(&outlines), |pixel, color, ink| {
            if let Some(ink) = ink {
                ink.draw(pixel, color);
            }
        });
        self.finish(picture, &look, style)
    }

    /// Lets `draw` change each pixel: it gets the colour of the pixel's class, if that class is drawn, and the ink of
    /// an outline, if there is any.
    fn paint(
        &self,
        picture: &mut RgbImage,
        look: &Look,
        outlines: Option<&Outlines>,
        draw: impl Fn(&mut [u8; 3], Option<[u8; 3]>, Option<&Ink>) + Sync,
    ) {
        let width = self.width() as usize;
        let colors: [Option<[u8; 3]>; 256] = std::array::from_fn(|id| look.drawn[id].then_some(look.colors[id]));
        let rows = picture.par_chunks_exact_mut(3 * width).zip(self.ids().par_chunks_exact(width));
        rows.enumerate().for_each(|(y, (row, ids))| {
            let pixels = row.as_chunks_mut().0.iter_mut().zip(ids.iter().map(|id| colors[usize::from(*id)]));
            match outlines {
                Some(outlines) => {
                    pixels.zip(outlines.row(y, width)).for_each(|((pixel, color), ink)| draw(pixel, color, ink))
                }
                None => pixels.for_each(|(pixel, color)| draw(pixel, color, None)),
            }
        });
    }

    fn finish(&self, mut picture: RgbImage, look: &Look, style: &Style) -> RgbImage {
        if style.names {
            self.draw_names(look, &mut picture);
        }
        self.with_legend(look, style.legend, picture)
    }
}

/// The luma of a pixel (Rec. 709's weights).
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((54 * u32::from(red) + 183 * u32::from(green) + 19 * u32::from(blue)) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::labels::Labels;
    use crate::mask::Palette;

    const BARE: Style = Style {
        palette: Palette::Labels,
        opacity: 0.5,
        outlines: false,
        names: false,
        legend: crate::mask::Legend::None,
        min_share: 0.0,
    };

    fn overlaid(labels: Labels, ids: Vec<u8>, style: &Style) -> Vec<[u8; 3]> {
        let photo = RgbImage::from_pixel(ids.len() as u32, 1, Rgb([100, 50, 200]));
        let segmentation = Segmentation::new(ids, labels, photo).unwrap();
        segmentation.overlay(style).pixels().map(|pixel| pixel.0).collect()
    }

    #[test]
    fn the_background_stays_as_it_is() {
        // Person is 192, 128, 128; the photograph's grey is 71.
        let photo = [100, 50, 200];
        assert_eq!(overlaid(Labels::voc(), vec![0, 15, 255], &BARE), [photo, [132, 100, 100], photo]);
        assert_eq!(overlaid(Labels::ade20k(), vec![0], &Style { opacity: 1.0, ..BARE }), [photo]);
    }

    #[test]
    fn without_a_background_every_class_is_drawn() {
        // Cityscapes' class 0 is road, 128, 64, 128.
        assert_eq!(overlaid(Labels::cityscapes(), vec![0], &Style { opacity: 1.0, ..BARE }), [[128, 64, 128]]);
    }

    #[test]
    fn opacity_runs_from_the_photograph_to_the_colours() {
        for (opacity, expected) in [
            (0.0, [100, 50, 200]),
            // Half way to grey, a quarter to the colour.
            (0.25, [113, 78, 134]),
            (0.5, [132, 100, 100]),
            (1.0, [192, 128, 128]),
            (-3.0, [100, 50, 200]),
            (7.0, [192, 128, 128]),
            (f32::NAN, [100, 50, 200]),
        ] {
            let shown = overlaid(Labels::voc(), vec![15], &Style { opacity, ..BARE })[0];
            assert!(shown.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1), "{opacity}: {shown:?}");
        }
    }

    #[test]
    fn the_colours_are_vivid_unless_the_labels_own_are_wanted() {
        let style = Style { palette: Palette::Vivid, opacity: 1.0, ..BARE };
        assert_eq!(overlaid(Labels::voc(), vec![15], &style), [Labels::voc().vivid()[15]]);
    }

    #[test]
    fn classes_that_are_too_small_are_as_background() {
        let ids = [vec![15; 2], vec![8; 98]].concat();
        let drawn = |min_share| {
            let style = Style { min_share, opacity: 1.0, ..BARE };
            overlaid(Labels::voc(), ids.clone(), &style)[0] != [100, 50, 200]
        };
        assert_eq!([0.0, 0.02, 0.0201, 1.0].map(drawn), [true, true, false, false]);
    }

    #[test]
    fn contours_are_along_borders_and_nowhere_else() {
        let ids = (0..100 * 100).map(|i| if i % 100 < 50 { 15 } else { 0 }).collect();
        let photo = RgbImage::from_pixel(100, 100, Rgb([100, 50, 200]));
        let contours = Segmentation::new(ids, Labels::voc(), photo).unwrap().contours(&BARE);
        let row: Vec<[u8; 3]> = contours.rows().nth(50).unwrap().map(|pixel| pixel.0).collect();
        assert_eq!((row[30], row[70]), ([100, 50, 200], [100, 50, 200]));
        // A band of the class's color on its own side.
        assert!(row[..50].contains(&[192, 128, 128]) && !row[50..].contains(&[192, 128, 128]), "{row:?}");
    }
}
