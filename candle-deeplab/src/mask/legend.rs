//! Which colour is which class.

use std::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Point, Size};
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage};

use super::Found;
use crate::segment::Segmentation;

/// How much of the photograph the panel hides.
const PANEL_OPACITY: f32 = 0.65;

impl Segmentation {
    /// Draws a panel with colour, name and share of the drawn classes ([`Segmentation::draws`]), the largest first, into
    /// the lower left corner of a picture. Where there is no room for all, the last line says how many are missing; where
    /// there are none, nothing is drawn. Letters beyond Latin-1 are shown as question marks.
    pub fn draw_legend(&self, picture: &mut RgbImage) {
        let found: Vec<Found> = self.found().into_iter().filter(|found| self.draws(found.class)).collect();
        let palette = self.labels().png_palette();
        let widest = found.iter().map(|found| found.name.chars().count()).max().unwrap_or(0);
        let line = |found: &Found| Line {
            color: Some(palette[usize::from(found.class)]),
            text: format!("{:widest$} {:>7}", found.name, percent(found.share)),
        };
        let mut lines: Vec<Line> = found.iter().map(line).collect();
        let layout = Layout::of(picture);
        layout.shorten(&mut lines, picture.height());
        if !lines.is_empty() {
            layout.draw(&lines, picture);
        }
    }
}

/// A share as people read it: one decimal, and what would round to nothing is still shown to be something.
fn percent(share: f64) -> String {
    match 100.0 * share {
        percent if percent < 0.05 => "<0.1 %".into(),
        percent => format!("{percent:.1} %"),
    }
}

struct Line {
    /// `None` for a line about lines.
    color: Option<[u8; 3]>,
    text: String,
}

/// Sizes in pixels of the picture.
struct Layout {
    font: &'static MonoFont<'static>,
    /// Each of the font's pixels is a square of so many.
    scale: u32,
    /// From a line to the next.
    line: u32,
    /// Between the panel and the picture's edge, and between the panel's edge and its lines.
    margin: u32,
}

impl Layout {
    /// Letters are about a thirtieth of the picture's shorter side.
    fn of(picture: &RgbImage) -> Self {
        let shorter = picture.width().min(picture.height());
        let font = if shorter < 300 { &FONT_6X10 } else { &FONT_10X20 };
        let scale = (shorter / 500).max(1);
        let height = scale * font.character_size.height;
        Self { font, scale, line: height + height / 4, margin: height / 2 }
    }

    fn shorten(&self, lines: &mut Vec<Line>, height: u32) {
        let room = (height.saturating_sub(4 * self.margin) / self.line) as usize;
        if lines.len() > room {
            let missing = lines.len() + 1 - room.max(1);
            lines.truncate(room.saturating_sub(1));
            if room > 0 {
                lines.push(Line { color: None, text: format!("and {missing} more") });
            }
        }
    }

    fn draw(&self, lines: &[Line], picture: &mut RgbImage) {
        let Self { line, margin, scale, .. } = *self;
        let letter = scale * self.font.character_size.width;
        let widest = lines.iter().map(|line| line.text.chars().count()).max().unwrap_or(0) as u32;
        let swatch = scale * self.font.character_size.height;
        let (width, height) = (3 * margin + swatch + widest * letter, 2 * margin + lines.len() as u32 * line);
        let (left, top) = (margin, picture.height().saturating_sub(margin + height));
        each(picture, [left, top], [width, height], |pixel| {
            pixel.0 = pixel.0.map(|value| (f32::from(value) * (1.0 - PANEL_OPACITY)).round() as u8);
        });
        for (index, Line { color, text }) in lines.iter().enumerate() {
            let (x, y) = (left + margin, top + margin + index as u32 * line);
            if let Some(color) = color {
                let [rim, inside] = [0, scale.max(swatch / 12)];
                for (inset, color) in [(rim, [255; 3]), (inside, *color)] {
                    let side = swatch - 2 * inset;
                    each(picture, [x + inset, y + inset], [side; 2], |pixel| *pixel = Rgb(color));
                }
            }
            let mut pen = Pen { picture, origin: [x + swatch + margin, y], scale };
            let style = MonoTextStyle::new(self.font, BinaryColor::On);
            // A pen writes on memory, which does not fail.
            let Ok(_) = Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut pen);
        }
    }
}

/// Changes the pixels of a rectangle, as far as it lies in the picture.
fn each(picture: &mut RgbImage, [left, top]: [u32; 2], size: [u32; 2], change: impl Fn(&mut Rgb<u8>)) {
    for y in top..(top + size[1]).min(picture.height()) {
        for x in left..(left + size[0]).min(picture.width()) {
            change(picture.get_pixel_mut(x, y));
        }
    }
}

/// Writes in white, enlarged.
struct Pen<'a> {
    picture: &'a mut RgbImage,
    origin: [u32; 2],
    scale: u32,
}

impl OriginDimensions for Pen<'_> {
    fn size(&self) -> Size {
        Size::new(self.picture.width() / self.scale, self.picture.height() / self.scale)
    }
}

impl DrawTarget for Pen<'_> {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, color) in pixels {
            if let (BinaryColor::On, Ok(x), Ok(y)) = (color, u32::try_from(x), u32::try_from(y)) {
                let corner = [self.origin[0] + x * self.scale, self.origin[1] + y * self.scale];
                each(self.picture, corner, [self.scale; 2], |pixel| *pixel = Rgb([255; 3]));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;

    fn with_legend(ids: Vec<u8>, width: u32) -> (RgbImage, RgbImage) {
        let photo = RgbImage::from_pixel(width, ids.len() as u32 / width, Rgb([100, 150, 200]));
        let segmentation = Segmentation::new(ids, Labels::voc(), photo).unwrap();
        let mut picture = segmentation.image().clone();
        segmentation.draw_legend(&mut picture);
        (segmentation.image().clone(), picture)
    }

    #[test]
    fn the_panel_lies_in_the_lower_left_corner() {
        let (photo, picture) = with_legend([vec![15; 90_000], vec![8; 70_000]].concat(), 400);
        let count = |color| picture.pixels().filter(|pixel| pixel.0 == color).count();
        // A swatch of 20×20 with a rim of one pixel for each class, and white letters.
        assert_eq!((count([192, 128, 128]), count([64, 0, 0])), (18 * 18, 18 * 18));
        assert!(count([255; 3]) > 500);
        for (x, y, pixel) in picture.enumerate_pixels() {
            let outside = !(10..250).contains(&x) || !(300..390).contains(&y);
            assert!(!outside || pixel == photo.get_pixel(x, y), "{x} {y}");
        }
    }

    #[test]
    fn the_background_needs_no_legend() {
        let (photo, picture) = with_legend(vec![0; 160_000], 400);
        assert_eq!(photo, picture);
    }

    #[test]
    fn pictures_of_any_size_have_room() {
        for (width, height) in [(1, 1), (1, 90), (90, 1), (17, 33), (60, 60), (3000, 20)] {
            let ids = (0..width * height).map(|i| (i % 20 + 1) as u8).collect();
            with_legend(ids, width as u32);
        }
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let line = |index: u32| Line { color: Some([0; 3]), text: index.to_string() };
        let layout = Layout { font: &FONT_6X10, scale: 1, line: 12, margin: 5 };
        for (height, expected) in
            [(20, ""), (32, "and 9 more"), (44, "0, and 8 more"), (128, "0, 1, 2, 3, 4, 5, 6, 7, 8")]
        {
            let mut lines: Vec<Line> = (0..9).map(line).collect();
            layout.shorten(&mut lines, height);
            assert_eq!(lines.into_iter().map(|line| line.text).collect::<Vec<_>>().join(", "), expected);
        }
    }
}
