//! The classes' outlines on the photograph.

use image::RgbImage;
use rayon::prelude::*;

use crate::segment::Segmentation;

impl Segmentation {
    /// The photograph with a line in each class's colour along the inside of its border. The image's own border is none.
    /// Lines are about a four-hundredth of the shorter side wide, at least 2 pixels. The background and ignored pixels
    /// have no line.
    pub fn outlines(&self) -> RgbImage {
        let line = (self.width().min(self.height()) as usize / 400).max(2);
        let width = self.width() as usize;
        let palette = self.labels().png_palette();
        let rows: Vec<&[u8]> = self.ids().chunks_exact(width).collect();
        // Whether the pixels to both sides, as far as the line is wide, are of the same class.
        let calm: Vec<bool> = rows.par_iter().flat_map_iter(|ids| calm(ids, line)).collect();
        let calm: Vec<&[bool]> = calm.chunks_exact(width).collect();

        let mut picture = self.image().clone();
        picture.par_chunks_exact_mut(3 * width).enumerate().for_each(|(y, pixels)| {
            let near = y.saturating_sub(line)..(y + line + 1).min(rows.len());
            for (x, (&id, pixel)) in rows[y].iter().zip(pixels.chunks_exact_mut(3)).enumerate() {
                let inside = || near.clone().all(|row| calm[row][x] && rows[row][x] == id);
                if self.draws(id) && !inside() {
                    pixel.copy_from_slice(&palette[usize::from(id)]);
                }
            }
        });
        picture
    }
}

/// For each pixel of a row whether all within `reach` are as it is.
fn calm(ids: &[u8], reach: usize) -> Vec<bool> {
    let mut calm = Vec::with_capacity(ids.len());
    for run in ids.chunk_by(|a, b| a == b) {
        let (begin, end) = (calm.len(), calm.len() + run.len());
        let first = if begin == 0 { 0 } else { begin + reach };
        let last = if end == ids.len() { end } else { end.saturating_sub(reach) };
        calm.extend((begin..end).map(|x| (first..last).contains(&x)));
    }
    calm
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::labels::Labels;

    fn picture(rows: &[&str]) -> Vec<String> {
        let ids = rows.concat().bytes().map(|byte| if byte == b'#' { 15 } else { 0 }).collect();
        let photo = RgbImage::from_pixel(rows[0].len() as u32, rows.len() as u32, Rgb([1, 2, 3]));
        let outlines = Segmentation::new(ids, Labels::voc(), photo).unwrap().outlines();
        let shown = |pixel: &Rgb<u8>| match pixel.0 {
            [1, 2, 3] => '.',
            [192, 128, 128] => 'o',
            _ => '?',
        };
        outlines.rows().map(|row| row.map(shown).collect()).collect()
    }

    #[test]
    fn a_line_runs_inside_the_border_and_only_there() {
        let rows = [".........", ".#######.", ".#######.", ".#######.", ".#######.", ".#######.", "........."];
        let lines = [".........", ".ooooooo.", ".ooooooo.", ".oo...oo.", ".ooooooo.", ".ooooooo.", "........."];
        assert_eq!(picture(&rows), lines);
    }

    #[test]
    fn the_edge_of_the_image_is_no_border() {
        assert_eq!(picture(&["######"; 4]), ["......"; 4]);
        assert_eq!(picture(&["#####."; 4]), ["...oo."; 4]);
        assert_eq!(picture(&["#", "#", "#", "."]), [".", "o", "o", "."]);
    }
}
