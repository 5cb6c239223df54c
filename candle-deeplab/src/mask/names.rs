//! Writes the classes' names into their regions.

use image::RgbImage;

use super::distance::squared_distances;
use super::regions::Components;
use super::style::Look;
use super::text::{CAPITALS, DESCENT, Halo, Text, size_for, width_of};
use crate::segment::Segmentation;

/// The most cells along a side of the grid on which places are searched.
const CELLS: usize = 200;
/// The most names in a picture.
const MOST: usize = 40;
/// How far letters may be reduced to fit.
const SMALLEST: f32 = 0.72;

/// A name and where it is.
pub(super) struct Name {
    text: String,
    size: f32,
    /// The centre of the text.
    at: [f32; 2],
}

impl Segmentation {
    /// Writes the names of the drawn classes into their regions, where there is room.
    pub(super) fn draw_names(&self, look: &Look, picture: &mut RgbImage) {
        for Name { text, size, at } in self.names(look) {
            let start = [at[0] - width_of(&text, size) / 2.0, at[1] + size * CAPITALS / 2.0];
            let halo = Halo { color: [0; 3], width: (0.12 * size).max(1.3), opacity: 0.72 };
            Text::new(&text, size, start).draw(picture, [255; 3], Some(halo));
        }
    }

    /// Finds places for names: in each region the place that is farthest from its border, the largest regions first.
    pub(super) fn names(&self, look: &Look) -> Vec<Name> {
        let [width, height] = [self.width(), self.height()].map(|side| side as usize);
        let step = width.max(height).div_ceil(CELLS);
        let grid = Grid::of(self, step);
        let size = size_for(self.width(), self.height());
        let mut patches = grid.patches();
        patches.retain(|patch| look.drawn[usize::from(patch.class)]);
        patches.sort_by_key(|patch| std::cmp::Reverse(patch.cells));
        let mut names: Vec<Name> = vec![];
        let mut taken = vec![false; grid.components.of.len()];
        for patch in patches.into_iter().take(4 * MOST) {
            let text = self.labels().name(patch.class);
            let em = width_of(&text, 1.0);
            let room = patch.cells as f32 * (step * step) as f32;
            let smallest = (SMALLEST * size).max(10.0);
            if em * smallest * smallest * CAPITALS > room {
                continue;
            }
            let Some((cell, depth)) = grid.place(&patch, em / (CAPITALS + DESCENT), &taken) else { continue };
            // The greatest size at which a text of this length fits.
            let fitting = 2.0 * depth * step as f32 / (CAPITALS + DESCENT) / 1.25;
            if fitting < smallest {
                continue;
            }
            let size = size.min(fitting);
            let at = cell.map(|cell| (cell as f32 + 0.5) * step as f32);
            grid.take(&mut taken, cell, [em * size + 0.6 * size, 1.4 * size].map(|side| side / step as f32));
            names.push(Name { text, size, at });
            if names.len() == MOST {
                break;
            }
        }
        names
    }
}

/// A label map at a lower resolution.
struct Grid {
    ids: Vec<u8>,
    components: Components,
}

/// A connected region of the grid.
struct Patch {
    component: u32,
    class: u8,
    cells: usize,
    /// The first and last column and row.
    columns: [usize; 2],
    rows: [usize; 2],
}

impl Grid {
    /// A cell has the class of its middle pixel.
    fn of(segmentation: &Segmentation, step: usize) -> Self {
        let [width, height] = [segmentation.width(), segmentation.height()].map(|side| side as usize);
        let middles = |side: usize| (0..side).step_by(step).map(move |from| (from + step / 2).min(side - 1));
        let row = |y: usize| middles(width).map(move |x| segmentation.ids()[y * width + x]);
        let ids: Vec<u8> = middles(height).flat_map(row).collect();
        let components = Components::of(&ids, width.div_ceil(step));
        Self { ids, components }
    }

    fn patches(&self) -> Vec<Patch> {
        let mut patches: Vec<Option<Patch>> = Vec::new();
        patches.resize_with(self.components.sizes.len(), || None);
        for (index, &component) in self.components.of.iter().enumerate() {
            let [x, y] = self.cell(index);
            let patch = patches[component as usize].get_or_insert(Patch {
                component,
                class: self.ids[index],
                cells: 0,
                columns: [x; 2],
                rows: [y; 2],
            });
            patch.cells += 1;
            patch.columns = [patch.columns[0].min(x), patch.columns[1].max(x)];
            patch.rows[1] = y;
        }
        patches.into_iter().flatten().collect()
    }

    fn cell(&self, index: usize) -> [usize; 2] {
        [index % self.components.width, index / self.components.width]
    }

    /// The best place in a patch for something `aspect` times as wide as high, and its vertical distance to the patch's
    /// border, in cells.
    fn place(&self, patch: &Patch, aspect: f32, taken: &[bool]) -> Option<([usize; 2], f32)> {
        // The mask has a rim of cells outside the patch.
        let ([left, right], [top, bottom]) = (patch.columns, patch.rows);
        let width = right - left + 3;
        let mut mask = vec![false; width * (bottom - top + 3)];
        let [mut sum_x, mut sum_y, mut free] = [0f32; 3];
        for y in top..=bottom {
            for x in left..=right {
                let index = y * self.components.width + x;
                if self.components.of[index] == patch.component && !taken[index] {
                    mask[(y - top + 1) * width + x - left + 1] = true;
                    sum_x += x as f32;
                    sum_y += y as f32;
                    free += 1.0;
                }
            }
        }
        // That of the cells that no other name takes.
        let middle = [sum_x / free, sum_y / free];
        let squared = squared_distances(&mask, width, 1.0 / aspect);
        let most = squared.iter().copied().fold(0.0, f32::max);
        // Of nearly equally good places, take the one nearest to the middle.
        let good = squared.iter().enumerate().filter(|(_, squared)| **squared >= 0.8 * most && **squared > 0.0);
        let cells = good.map(|(index, squared)| {
            let cell = [index % width + left - 1, index / width + top - 1];
            let away = [cell[0] as f32 - middle[0], cell[1] as f32 - middle[1]];
            (cell, *squared, (away[0] / aspect).powi(2) + away[1].powi(2))
        });
        let (cell, squared, _) = cells.min_by(|a, b| a.2.total_cmp(&b.2))?;
        // The border is half a cell before the centre of the first cell beyond it.
        Some((cell, squared.sqrt() - 0.5))
    }

    fn take(&self, taken: &mut [bool], cell: [usize; 2], size: [f32; 2]) {
        let height = taken.len() / self.components.width;
        let range = |axis: usize, most: usize| {
            let (middle, half) = (cell[axis] as f32 + 0.5, size[axis] / 2.0);
            (middle - half).max(0.0) as usize..((middle + half).ceil() as usize).min(most)
        };
        for y in range(1, height) {
            taken[y * self.components.width..][range(0, self.components.width)].fill(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::mask::Style;

    fn names(width: usize, height: usize, id: impl Fn(usize, usize) -> u8) -> Vec<Name> {
        let ids = (0..width * height).map(|i| id(i % width, i / width)).collect();
        let segmentation = Segmentation::new(ids, Labels::voc(), RgbImage::new(width as u32, height as u32)).unwrap();
        let style = Style { min_share: 0.0, ..Style::default() };
        segmentation.names(&segmentation.look(&style))
    }

    /// Left, right, top, bottom.
    fn extent(name: &Name) -> [f32; 4] {
        let half = [width_of(&name.text, name.size) / 2.0, name.size * CAPITALS / 2.0];
        [name.at[0] - half[0], name.at[0] + half[0], name.at[1] - half[1], name.at[1] + half[1]]
    }

    #[test]
    fn a_name_is_in_the_middle_of_its_region() {
        let found = names(400, 300, |x, y| if (100..300).contains(&x) && (50..250).contains(&y) { 15 } else { 0 });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "person");
        assert!((found[0].at[0] - 200.0).abs() < 6.0 && (found[0].at[1] - 150.0).abs() < 6.0, "{:?}", found[0].at);
    }

    /// The middle of a ring is not in it.
    #[test]
    fn a_name_is_inside_its_region_whatever_its_shape() {
        let ring = |x: usize, y: usize| {
            let away = (x as f32 - 250.0).hypot(y as f32 - 250.0);
            if (120.0..230.0).contains(&away) { 12 } else { 0 }
        };
        let found = names(500, 500, ring);
        assert_eq!(found.len(), 1);
        let [left, right, top, bottom] = extent(&found[0]).map(|side| side as usize);
        let inside = (left..=right).flat_map(|x| [top, bottom].map(|y| ring(x, y))).filter(|id| *id == 12).count();
        assert_eq!(inside, 2 * (right - left + 1));
    }

    #[test]
    fn each_region_that_is_large_enough_has_a_name() {
        let blocks = |x: usize, y: usize| match (x / 100, y / 100, x % 100, y % 100) {
            (_, _, 0..10, _) | (_, _, _, 0..10) => 0,
            (0..3, 0..2, ..) => 8,
            _ => 0,
        };
        assert_eq!(names(400, 300, blocks).len(), 6);
        let specks = |x: usize, y: usize| if x.is_multiple_of(20) && y.is_multiple_of(20) { 8 } else { 0 };
        assert_eq!(names(400, 300, specks).len(), 0);
        let strip = |_: usize, y: usize| if (100..106).contains(&y) { 8 } else { 0 };
        assert_eq!(names(400, 300, strip).len(), 0);
    }

    #[test]
    fn names_do_not_lie_over_one_another() {
        let found = names(300, 200, |x, y| (1 + (x / 37 + y / 23 * 3) % 20) as u8);
        assert!(found.len() > 5);
        for (i, a) in found.iter().enumerate() {
            for b in &found[..i] {
                let ([l, r, t, m], [l2, r2, t2, m2]) = (extent(a), extent(b));
                assert!(r < l2 || r2 < l || m < t2 || m2 < t, "{} and {}", a.text, b.text);
            }
        }
    }

    #[test]
    fn letters_are_as_large_as_the_image() {
        let size = |width, height| names(width, height, |_, _| 15)[0].size;
        assert!((size(4000, 3000) / size(400, 300) - 1.0).abs() > 5.0);
        assert!(size(128, 72) >= 10.0);
    }

    #[test]
    fn images_of_any_size_have_names_or_none() {
        for (width, height) in [(1, 1), (1, 90), (90, 1), (17, 33), (3000, 20)] {
            names(width, height, |x, y| (x + y) as u8 % 21);
            names(width, height, |_, _| 11);
        }
    }
}
