//! Draws legends: which colour is which class.

use image::{Rgb, RgbImage};

use super::Coverage;
use super::style::{Legend, Look};
use super::text::{CAPITALS, Text, mix, part, size_for, width_of};
use crate::segment::Segmentation;

const PAPER: [u8; 3] = [255; 3];
const INK: [u8; 3] = [32, 35, 41];
const FAINT: [u8; 3] = [106, 112, 122];

/// The sizes of a legend, in pixels.
struct Layout {
    /// The size of letters.
    size: f32,
    /// The distance between rows.
    row: f32,
    /// The margin around the rows.
    margin: f32,
}

/// A row of a legend: a class, or a note on those that are missing.
struct Entry {
    color: Option<[u8; 3]>,
    name: String,
    share: String,
}

impl Segmentation {
    /// The picture with its legend below it.
    pub(super) fn with_legend(&self, look: &Look, legend: Legend, picture: RgbImage) -> RgbImage {
        if legend == Legend::None {
            return picture;
        }
        let layout = Layout::of(picture.width(), picture.height());
        let mut found: Vec<Coverage> =
            self.found().into_iter().filter(|found| look.drawn[usize::from(found.class)]).collect();
        // The largest classes come first, except in videos, where that order would change from frame to frame.
        if matches!(legend, Legend::Rows(_)) {
            found.sort_by_key(|found| found.class);
        }
        let entry = |class: u8, share: f64| Entry {
            color: Some(look.colors[usize::from(class)]),
            name: self.labels().name(class),
            share: percent(share),
        };
        let mut entries: Vec<Entry> = found.iter().map(|found| entry(found.class, found.share)).collect();
        let columns = match legend {
            // Columns with room for any class stay where they are from frame to frame.
            Legend::Rows(_) => {
                let classes = (0..=u8::MAX).take(self.labels().names.len()).filter(|class| self.labels().draws(*class));
                layout.columns(&classes.map(|class| entry(class, 1.0)).collect::<Vec<_>>(), picture.width())
            }
            _ => layout.columns(&entries, picture.width()),
        };
        let rows = match legend {
            Legend::Rows(rows) => rows as usize,
            _ if columns.is_empty() => 0,
            _ => entries.len().div_ceil(columns.len()),
        };
        shorten(&mut entries, rows * columns.len());
        entries.iter_mut().for_each(|entry| layout.cut(entry, picture.width()));
        let strip = layout.strip(rows);
        let mut whole = RgbImage::from_pixel(picture.width(), picture.height() + strip, Rgb(PAPER));
        let (above, _) = whole.split_at_mut(picture.as_raw().len());
        above.copy_from_slice(&picture);
        for (index, entry) in entries.iter().enumerate() {
            let (row, column) = (index / columns.len(), index % columns.len());
            let top = picture.height() as f32 + layout.margin + row as f32 * layout.row;
            layout.draw(entry, [columns[column], top], &mut whole);
        }
        whole
    }
}

impl Legend {
    /// How many pixels the legend adds to the height of a picture of this size; 0 where that depends on the picture.
    pub fn height(self, width: u32, height: u32) -> u32 {
        match self {
            Self::Rows(rows) => Layout::of(width, height).strip(rows as usize),
            Self::None | Self::Below => 0,
        }
    }
}

/// A share in percent with one decimal; a share that would round to zero is "<0.1 %".
fn percent(share: f64) -> String {
    match 100.0 * share {
        percent if percent < 0.05 => "<0.1 %".into(),
        percent => format!("{percent:.1} %"),
    }
}

/// Keeps as many entries as there is room for; the last one says how many are missing.
fn shorten(entries: &mut Vec<Entry>, room: usize) {
    if entries.len() > room {
        let missing = entries.len() + 1 - room.max(1);
        entries.truncate(room.saturating_sub(1));
        if room > 0 {
            entries.push(Entry { color: None, name: format!("and {missing} more"), share: String::new() });
        }
    }
}

impl Layout {
    fn of(width: u32, height: u32) -> Self {
        let size = 0.9 * size_for(width, height).max(12.0);
        Self { size, row: (1.75 * size).round(), margin: (0.6 * size).round() }
    }

    /// The height of the strip.
    fn strip(&self, rows: usize) -> u32 {
        if rows == 0 { 0 } else { (rows as f32 * self.row + 2.0 * self.margin) as u32 }
    }

    /// The left ends of the columns of these entries; none if the picture is too narrow for any.
    fn columns(&self, entries: &[Entry], width: u32) -> Vec<f32> {
        let (room, gap) = (self.room(width), 1.6 * self.size);
        let widest = entries.iter().map(|entry| self.width(entry)).fold(0.0, f32::max).min(room);
        let count = if room < 4.0 * self.size { 0 } else { ((room + gap) / (widest + gap)) as usize };
        (0..count.min(entries.len())).map(|column| self.margin + column as f32 * (widest + gap)).collect()
    }

    /// The width available to a row.
    fn room(&self, width: u32) -> f32 {
        width as f32 - 2.0 * self.margin
    }

    /// Shortens a name that is too wide for the picture.
    fn cut(&self, entry: &mut Entry, width: u32) {
        let mut letters: Vec<char> = entry.name.chars().collect();
        while self.width(entry) > self.room(width) && letters.pop().is_some() {
            entry.name = letters.iter().chain(&['…']).collect();
        }
    }

    /// The offsets of an entry's name, share and end from its left end.
    fn places(&self, entry: &Entry) -> [f32; 3] {
        let name = if entry.color.is_some() { 1.5 * self.size } else { 0.0 };
        let share = name + width_of(&entry.name, self.size) + 0.45 * self.size;
        [name, share, share + width_of(&entry.share, self.size)]
    }

    fn width(&self, entry: &Entry) -> f32 {
        self.places(entry)[2]
    }

    fn draw(&self, entry: &Entry, [left, top]: [f32; 2], picture: &mut RgbImage) {
        let base = (top + (self.row + CAPITALS * self.size) / 2.0).round();
        let [name, share, _] = self.places(entry).map(|place| left + place);
        if let Some(color) = entry.color {
            let side = (1.05 * self.size).round();
            let corner = [left.round(), (top + (self.row - side) / 2.0).round()];
            rounded(picture, corner, side, 0.22 * side, color);
        }
        Text::new(&entry.name, self.size, [name, base]).draw(picture, INK, None);
        Text::new(&entry.share, self.size, [share, base]).draw(picture, FAINT, None);
    }
}

/// Draws a square with round corners.
fn rounded(picture: &mut RgbImage, [left, top]: [f32; 2], side: f32, radius: f32, color: [u8; 3]) {
    for y in 0..side as u32 {
        for x in 0..side as u32 {
            let away = |at: u32| (f32::abs(at as f32 + 0.5 - side / 2.0) - (side / 2.0 - radius)).max(0.0);
            let cover = (radius + 0.5 - away(x).hypot(away(y))).clamp(0.0, 1.0);
            if let Some(pixel) = picture.get_pixel_mut_checked(left as u32 + x, top as u32 + y) {
                mix(&mut pixel.0, color, part(cover));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::mask::Style;

    fn with_legend(ids: Vec<u8>, width: u32, legend: Legend) -> RgbImage {
        let photo = RgbImage::from_pixel(width, ids.len() as u32 / width, Rgb([100, 150, 200]));
        let segmentation = Segmentation::new(ids, Labels::voc(), photo).unwrap();
        let style = Style { min_share: 0.0, ..Style::default() };
        segmentation.with_legend(&segmentation.look(&style), legend, segmentation.image().clone())
    }

    #[test]
    fn the_picture_stays_and_a_strip_is_below_it() {
        let picture = with_legend([vec![15; 90_000], vec![8; 70_000]].concat(), 400, Legend::Below);
        assert!((420..470).contains(&picture.height()));
        let colors = Labels::voc().vivid();
        let count = |color: [u8; 3]| picture.pixels().filter(|pixel| pixel.0 == color).count();
        for class in [15, 8] {
            assert!(count(colors[class]) > 100, "a square of each class's color");
        }
        assert!(picture.enumerate_pixels().all(|(_, y, pixel)| (y < 400) == (pixel.0 == [100, 150, 200])));
        assert!(picture.enumerate_pixels().any(|(_, y, pixel)| y > 400 && pixel.0 == INK), "there are letters");
    }

    #[test]
    fn classes_wrap_into_rows() {
        let height = |classes: u8| {
            let ids = (0..160_000).map(|i| (i % u32::from(classes) + 1) as u8).collect();
            with_legend(ids, 400, Legend::Below).height() - 400
        };
        let (one, two, three) = (height(2), height(4), height(7));
        assert!(one < two && two < three, "{one} {two} {three}");
    }

    #[test]
    fn the_background_needs_no_legend() {
        assert_eq!(with_legend(vec![0; 160_000], 400, Legend::Below).height(), 400);
        assert_eq!(with_legend(vec![15; 160_000], 400, Legend::None).height(), 400);
    }

    #[test]
    fn a_films_legend_has_the_same_size_in_every_frame() {
        let legend = Legend::Rows(2);
        for ids in [vec![0; 160_000], vec![15; 160_000], (0..160_000).map(|i| (i % 21) as u8).collect()] {
            let picture = with_legend(ids, 400, legend);
            assert_eq!(picture.height(), 400 + legend.height(400, 400));
        }
    }

    #[test]
    fn pictures_of_any_size_have_legends() {
        for (width, height) in [(1, 1), (1, 90), (90, 1), (17, 33), (60, 60), (3000, 20)] {
            for legend in [Legend::Below, Legend::Rows(1), Legend::Rows(0)] {
                let ids = (0..width * height).map(|i| (i % 20 + 1) as u8).collect();
                assert_eq!(with_legend(ids, width as u32, legend).width(), width as u32);
            }
        }
    }

    #[test]
    fn a_picture_too_narrow_for_a_legend_has_none() {
        assert_eq!(with_legend(vec![15; 30 * 40], 30, Legend::Below).height(), 40);
    }

    #[test]
    fn long_names_are_cut() {
        let mut entry = Entry { color: Some([0; 3]), name: "a very long name ".repeat(9), share: "1.0 %".into() };
        let layout = Layout::of(300, 200);
        assert_eq!(layout.columns(std::slice::from_ref(&entry), 300).len(), 1);
        layout.cut(&mut entry, 300);
        assert!(entry.name.starts_with("a very long") && entry.name.ends_with('…'), "{}", entry.name);
        assert!(layout.width(&entry) <= layout.room(300));
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let entry = |index: u32| Entry { color: Some([0; 3]), name: index.to_string(), share: String::new() };
        for (room, expected) in [(0, ""), (1, "and 9 more"), (2, "0, and 8 more"), (9, "0, 1, 2, 3, 4, 5, 6, 7, 8")] {
            let mut entries: Vec<Entry> = (0..9).map(entry).collect();
            shorten(&mut entries, room);
            assert_eq!(entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "), expected);
        }
    }
}
