//! Draws outlines around regions: a light line between two dark ones, so that they show on any background.

use rayon::prelude::*;

use super::borders::{Border, borders};
use super::style::Look;
use super::text::{mix, part};
use crate::segment::Segmentation;

/// Widths to one side of a border, in 450ths of the image's side.
const LIGHT: f32 = 0.68;
const DARK: f32 = 1.6;
const BAND: f32 = 4.0;
const DARKNESS: f32 = 0.62;

/// The share of an image that outlines may cover.
const MOST: f32 = 0.6;

/// How many rows of distances a thread computes at a time.
const ROWS: usize = 32;

/// The outlines of a segmentation's drawn regions: one line for each border, whatever is on its two sides. There is
/// none along the image's edge.
pub(super) struct Outlines {
    /// The distance of each pixel's centre from the nearest border, in 255ths of the reach; 255 beyond the reach.
    distances: Vec<u8>,
    /// What is drawn at each distance.
    ink: [Ink; 256],
}

/// How much of a pixel is covered by each layer, in the units of [`mix`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ink {
    band: u32,
    dark: u32,
    light: u32,
}

impl Outlines {
    /// Outlines whose width suits the image, with or without a band of the class's colour along their insides.
    pub(super) fn of(segmentation: &Segmentation, look: &Look, bands: bool) -> Self {
        let width = segmentation.width() as usize;
        let unit = ((segmentation.ids().len() as f32).sqrt() / 450.0).max(0.9);
        // The half pixel is for the soft edge of a line.
        let reach = if bands { BAND } else { DARK } * unit + 0.5;
        let undrawn = look.drawn.iter().position(|drawn| !drawn).unwrap_or(0) as u8;
        let group = std::array::from_fn(|id| if look.drawn[id] { id as u8 } else { undrawn });
        // Outlines that cover most of the image would show nothing.
        let most = MOST * segmentation.ids().len() as f32 / (2.0 * DARK * unit);
        let borders = borders(segmentation.ids(), width, &group, most as usize);
        let lines = lines(&borders, reach, 12.0 * DARK * unit);
        let mut distances = vec![u8::MAX; segmentation.ids().len()];
        distances.par_chunks_mut(ROWS * width).enumerate().for_each(|(chunk, distances)| {
            for line in &lines {
                line.measure(distances, width, (chunk * ROWS) as f32, reach);
            }
        });
        let ink = std::array::from_fn(|step| {
            let distance = step as f32 / 255.0 * reach;
            let line = |half: f32| (half * unit + 0.5 - distance).clamp(0.0, 1.0);
            let band = if bands { line(BAND) } else { 0.0 };
            Ink { band: part(band), dark: part(DARKNESS * line(DARK)), light: part(line(LIGHT)) }
        });
        Self { distances, ink }
    }

    /// The ink of a row of pixels.
    pub(super) fn row(&self, y: usize, width: usize) -> impl Iterator<Item = Option<&Ink>> {
        self.distances[y * width..][..width].iter().map(|distance| match distance {
            255 => None,
            distance => Some(&self.ink[usize::from(*distance)]),
        })
    }
}

impl Ink {
    /// Draws the layers over a pixel; the band has the colour of the pixel's region, if it has one.
    pub(super) fn draw(&self, pixel: &mut [u8; 3], color: Option<[u8; 3]>) {
        if let (Some(color), true) = (color, self.band > 0) {
            mix(pixel, color, self.band);
        }
        mix(pixel, [0; 3], self.dark);
        mix(pixel, [255; 3], self.light);
    }
}

/// A straight piece of a border.
struct Line {
    from: [f32; 2],
    along: [f32; 2],
    /// 1 / squared length.
    inverse: f32,
}

/// The pieces of all borders, except of rings that are shorter than `least`: they would be covered by their outline.
fn lines(borders: &[Border], reach: f32, least: f32) -> Vec<Line> {
    // A piece is short compared with the line's width and the length over which borders were smoothed.
    let step = (reach / 4.0).max(2.0) as usize;
    let mut lines = vec![];
    for Border { points, closed } in borders {
        if *closed && (points.len() as f32) < least {
            continue;
        }
        let last = if *closed { points[0] } else { points[points.len() - 1] };
        let mut from = points[0];
        for to in points.iter().step_by(step).skip(1).chain([&last]) {
            let along = [to[0] - from[0], to[1] - from[1]];
            let squared = along[0] * along[0] + along[1] * along[1];
            lines.push(Line { from, along, inverse: if squared > 0.0 { 1.0 / squared } else { 0.0 } });
            from = *to;
        }
    }
    lines
}

impl Line {
    /// Lowers the distances of pixels nearby, in the rows from `first` on.
    fn measure(&self, distances: &mut [u8], width: usize, first: f32, reach: f32) {
        let rows = (distances.len() / width) as f32;
        let [[left, right], [top, bottom]] = [0, 1].map(|axis| {
            let (a, b) = (self.from[axis], self.from[axis] + self.along[axis]);
            [a.min(b) - reach, a.max(b) + reach]
        });
        if bottom < first || top > first + rows {
            return;
        }
        let range = |low: f32, high: f32, most: f32| low.max(0.0) as usize..high.ceil().clamp(0.0, most) as usize;
        let columns = range(left, right, width as f32);
        for y in range(top - first, bottom - first, rows) {
            let dy = first + y as f32 + 0.5 - self.from[1];
            for (slot, x) in distances[y * width..][columns.clone()].iter_mut().zip(columns.start..) {
                let dx = x as f32 + 0.5 - self.from[0];
                let part = ((dx * self.along[0] + dy * self.along[1]) * self.inverse).clamp(0.0, 1.0);
                let (dx, dy) = (dx - part * self.along[0], dy - part * self.along[1]);
                // The cast saturates at 255 beyond the reach.
                *slot = (*slot).min(((dx * dx + dy * dy).sqrt() / reach * 255.0) as u8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;
    use crate::labels::Labels;
    use crate::mask::Style;

    const GROUND: [u8; 3] = [120, 130, 140];

    /// Only outlines, on an image of one colour.
    fn outlined(ids: Vec<u8>, width: usize) -> RgbImage {
        let photo = RgbImage::from_pixel(width as u32, (ids.len() / width) as u32, Rgb(GROUND));
        let style = Style { opacity: 0.0, names: false, min_share: 0.0, ..Style::default() };
        Segmentation::new(ids, Labels::voc(), photo).unwrap().overlay(&style)
    }

    fn halves(width: usize, height: usize) -> Vec<u8> {
        (0..width * height).map(|i| if i % width < width / 2 { 15 } else { 0 }).collect()
    }

    #[test]
    fn an_outline_is_light_in_the_middle_and_dark_on_both_sides() {
        let row: Vec<[u8; 3]> = outlined(halves(600, 400), 600).rows().nth(200).unwrap().map(|pixel| pixel.0).collect();
        let across: Vec<u8> = row[296..304].iter().map(|pixel| pixel[0]).collect();
        let bright = |value: u8| i32::from(value) - i32::from(GROUND[0]);
        assert!(bright(across[3]) > 60 && bright(across[1].min(across[2])) < -40, "{across:?}");
        assert_eq!((row[290], row[310]), (GROUND, GROUND));
        assert_eq!(row[285..300].iter().rev().collect::<Vec<_>>(), row[300..315].iter().collect::<Vec<_>>());
    }

    #[test]
    fn outlines_are_as_wide_as_the_image_is_large() {
        let changed = |width: usize, height: usize| {
            let picture = outlined(halves(width, height), width);
            picture.rows().nth(height as u32 as usize / 2).unwrap().filter(|pixel| pixel.0 != GROUND).count()
        };
        let (small, large) = (changed(600, 400), changed(3000, 2000));
        assert!((4 * small..=6 * small).contains(&large), "{small} {large}");
        assert!((2..=5).contains(&changed(40, 30)));
    }

    #[test]
    fn the_edge_of_the_image_has_no_outline() {
        assert!(outlined(vec![15; 600], 30).pixels().all(|pixel| pixel.0 == GROUND));
        assert!(outlined(vec![0; 600], 30).pixels().all(|pixel| pixel.0 == GROUND));
        let picture = outlined(halves(60, 40), 60);
        assert!((0..40).all(|y| picture.get_pixel(0, y).0 == GROUND));
    }

    #[test]
    fn specks_are_not_buried_under_outlines() {
        let with_square = |side: usize| {
            let ids = (0..200 * 200).map(|i| {
                if i % 200 < 100 + side && i % 200 >= 100 && i / 200 < 100 + side && i / 200 >= 100 { 15 } else { 0 }
            });
            outlined(ids.collect(), 200).pixels().any(|pixel| pixel.0 != GROUND)
        };
        assert_eq!([3, 12].map(with_square), [false, true]);
    }

    /// Label maps with borders everywhere, and images too small for one.
    #[test]
    fn any_label_map_has_outlines() {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 % 21
        };
        for (width, height) in [(1, 1), (1, 50), (50, 1), (2, 2), (64, 64), (17, 33)] {
            let picture = outlined((0..width * height).map(|_| next()).collect(), width);
            assert_eq!(picture.dimensions(), (width as u32, height as u32));
        }
    }
}
