//! Draws text on pictures.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, OutlinedGlyph, PxScale, Rect, ScaleFont, point};
use image::RgbImage;

use super::distance::squared_distances;

/// Inter, reduced to Latin, Greek and Cyrillic letters; see `assets/font/README.md`.
const INTER: &[u8] = include_bytes!("../../assets/font/Inter-SemiBold.otf");

/// Never `None`, as a test checks.
static FONT: LazyLock<Option<FontRef<'static>>> = LazyLock::new(|| FontRef::try_from_slice(INTER).ok());

/// The height of capital letters, as a share of the text's size.
pub(super) const CAPITALS: f32 = 0.727;
/// The depth below the baseline, as a share of the text's size.
pub(super) const DESCENT: f32 = 0.21;

/// The size of letters that suits a picture, in pixels: about a 27th of the picture's side.
pub(super) fn size_for(width: u32, height: u32) -> f32 {
    ((f64::from(width) * f64::from(height)).sqrt() as f32 / 27.0).max(11.0)
}

/// The advance width of a text. The size is that of an em, in pixels.
pub(super) fn width_of(text: &str, size: f32) -> f32 {
    let Some(font) = &*FONT else { return 0.0 };
    let scaled = font.as_scaled(scale(font, size));
    text.chars().map(|letter| scaled.h_advance(font.glyph_id(letter))).sum()
}

/// The font's scale for an em of `size` pixels.
fn scale(font: &impl Font, size: f32) -> PxScale {
    let units = font.units_per_em().unwrap_or(1000.0);
    PxScale::from(size * font.height_unscaled() / units)
}

/// A line of text at its place.
pub(super) struct Text(Vec<OutlinedGlyph>);

/// A line around letters that sets them off from what is behind them.
#[derive(Clone, Copy)]
pub(super) struct Halo {
    pub(super) color: [u8; 3],
    /// In pixels.
    pub(super) width: f32,
    pub(super) opacity: f32,
}

impl Text {
    /// Text whose baseline begins at `at`.
    pub(super) fn new(text: &str, size: f32, at: [f32; 2]) -> Self {
        let Some(font) = &*FONT else { return Self(vec![]) };
        let scale = scale(font, size);
        let scaled = font.as_scaled(scale);
        let mut x = at[0];
        let place = |letter: char| {
            let glyph = font.glyph_id(letter);
            let placed = glyph.with_scale_and_position(scale, point(x, at[1]));
            x += scaled.h_advance(glyph);
            font.outline_glyph(placed)
        };
        Self(text.chars().filter_map(place).collect())
    }

    /// Draws the part of the text that lies in the picture.
    pub(super) fn draw(&self, picture: &mut RgbImage, color: [u8; 3], halo: Option<Halo>) {
        let bounds = self.0.iter().map(OutlinedGlyph::px_bounds).reduce(|a, b| Rect {
            min: point(a.min.x.min(b.min.x), a.min.y.min(b.min.y)),
            max: point(a.max.x.max(b.max.x), a.max.y.max(b.max.y)),
        });
        let Some(bounds) = bounds else { return };
        let margin = halo.map_or(0.0, |halo| halo.width.ceil() + 1.0);
        let [left, top] = [bounds.min.x - margin, bounds.min.y - margin];
        let width = (bounds.width() + 2.0 * margin) as usize;
        let height = (bounds.height() + 2.0 * margin) as usize;
        let mut ink = vec![0.0f32; width * height];
        for glyph in &self.0 {
            let corner = glyph.px_bounds().min;
            let [x0, y0] = [corner.x - left, corner.y - top].map(|offset| offset as usize);
            glyph.draw(|x, y, cover| {
                if let Some(ink) = ink.get_mut((y0 + y as usize) * width + x0 + x as usize) {
                    *ink = ink.max(cover.min(1.0));
                }
            });
        }
        let layers = halo.map(|halo| (halo.color, halo.cover(&ink, width))).into_iter().chain([(color, ink)]);
        for (color, cover) in layers {
            for (row, y) in cover.chunks_exact(width).zip(top as i64..) {
                for (&cover, x) in row.iter().zip(left as i64..) {
                    if let (true, Ok(x), Ok(y)) = (cover > 0.0, u32::try_from(x), u32::try_from(y))
                        && let Some(pixel) = picture.get_pixel_mut_checked(x, y)
                    {
                        mix(&mut pixel.0, color, part(cover));
                    }
                }
            }
        }
    }
}

impl Halo {
    /// How much of each pixel the halo covers, around letters that cover `ink`.
    fn cover(&self, ink: &[f32], width: usize) -> Vec<f32> {
        let outside: Vec<bool> = ink.iter().map(|ink| *ink < 0.5).collect();
        let squared = squared_distances(&outside, width, 1.0);
        squared.iter().map(|squared| self.opacity * (self.width + 0.5 - squared.sqrt()).clamp(0.0, 1.0)).collect()
    }
}

/// The cover of a whole pixel, in the units of [`mix`].
pub(super) const WHOLE: u32 = 256;

/// Converts a share from 0 to 1 to parts of a [`WHOLE`].
pub(super) fn part(share: f32) -> u32 {
    (share * WHOLE as f32).round() as u32
}

/// Blends a colour over a pixel; `cover` is in parts of a [`WHOLE`].
pub(super) fn mix(pixel: &mut [u8; 3], color: [u8; 3], cover: u32) {
    for (value, color) in pixel.iter_mut().zip(color) {
        let mixed = u32::from(*value) * (WHOLE - cover) + u32::from(color) * cover;
        *value = ((mixed + WHOLE / 2) / WHOLE) as u8;
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn the_font_has_latin_greek_and_cyrillic_letters() {
        let font = FONT.as_ref().unwrap();
        for letter in "azAZ09 .,-–…%()äöüßéñçøåłşżĐαΩЖяї".chars() {
            assert_ne!(font.glyph_id(letter).0, 0, "{letter}");
        }
        assert_eq!(font.glyph_id('猫').0, 0);
    }

    #[test]
    fn text_is_as_wide_as_its_size_says() {
        assert!((width_of("person", 40.0) - 4.0 * width_of("person", 10.0)).abs() < 0.1);
        assert!(width_of("person", 10.0) > 30.0 && width_of("person", 10.0) < 45.0);
        assert_eq!(width_of("", 10.0), 0.0);
    }

    #[test]
    fn letters_stand_where_they_are_put_and_are_smooth() {
        let mut picture = RgbImage::from_pixel(60, 40, Rgb([0; 3]));
        Text::new("HH", 24.0, [10.0, 30.0]).draw(&mut picture, [255; 3], None);
        let inked: Vec<(u32, u32)> =
            picture.enumerate_pixels().filter(|(_, _, pixel)| pixel[0] > 128).map(|(x, y, _)| (x, y)).collect();
        assert!(inked.iter().all(|(x, y)| (10..50).contains(x) && (12..30).contains(y)), "{inked:?}");
        assert!(inked.iter().any(|(_, y)| *y == 29));
        assert!(picture.pixels().any(|pixel| (32..224).contains(&pixel[0])));
    }

    #[test]
    fn a_halo_sets_letters_off_from_their_own_colour() {
        let mut picture = RgbImage::from_pixel(60, 40, Rgb([255; 3]));
        let halo = Halo { color: [0; 3], width: 2.0, opacity: 0.7 };
        Text::new("HH", 24.0, [10.0, 30.0]).draw(&mut picture, [255; 3], Some(halo));
        assert!(picture.pixels().filter(|pixel| pixel[0] < 90).count() > 100);
    }

    #[test]
    fn what_lies_outside_the_picture_is_not_drawn() {
        for at in [[-20.0, 5.0], [5.0, -20.0], [1e6, 5.0], [-3.0, 3.0], [3.0, 12.0]] {
            let mut picture = RgbImage::new(8, 8);
            let halo = Halo { color: [9; 3], width: 2.0, opacity: 1.0 };
            Text::new("Ågj", 14.0, at).draw(&mut picture, [255; 3], Some(halo));
        }
    }

    #[test]
    fn mixing_is_exact_at_both_ends() {
        for (cover, expected) in [(0, [10, 200, 0]), (WHOLE / 2, [20, 150, 128]), (WHOLE, [30, 100, 255])] {
            let mut pixel = [10, 200, 0];
            mix(&mut pixel, [30, 100, 255], cover);
            assert_eq!(pixel, expected);
        }
    }
}
