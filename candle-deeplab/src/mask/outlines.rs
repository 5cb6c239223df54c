//! The classes' outlines on the photograph.

use image::RgbImage;
use rayon::prelude::*;

use crate::segment::Segmentation;

impl Segmentation {
    /// The photograph with a line in each class's colour along the inside of its border, and a thin white one within
    /// that, so that dark colours show on dark things. The image's own border is none; the background and ignored pixels
    /// have no line. Lines are about a four-hundredth of the shorter side wide, at least 2 pixels.
    pub fn outlines(&self) -> RgbImage {
        let line = (self.width().min(self.height()) as usize / 400).max(2);
        let palette = self.labels().png_palette();
        let (behind_line, behind_rim) = (self.interior(line), self.interior(line + line / 2));
        let mut picture = self.image().clone();
        let pixels = picture.par_chunks_exact_mut(3);
        pixels.zip(self.ids()).zip(behind_line.par_iter().zip(&behind_rim)).for_each(
            |((pixel, &id), (&line, &rim))| match (self.draws(id), line, rim) {
                (true, false, _) => pixel.copy_from_slice(&palette[usize::from(id)]),
                (true, true, false) => pixel.fill(255),
                _ => {}
            },
        );
        picture
    }

    /// For each pixel whether all within `reach` of it, in a square, are of its class.
    fn interior(&self, reach: usize) -> Vec<bool> {
        let width = self.width() as usize;
        let rows: Vec<&[u8]> = self.ids().chunks_exact(width).collect();
        let calm: Vec<bool> = rows.par_iter().flat_map_iter(|ids| calm(ids, reach)).collect();
        let calm: Vec<&[bool]> = calm.chunks_exact(width).collect();
        let row = |y: usize| {
            let near = y.saturating_sub(reach)..(y + reach + 1).min(rows.len());
            let (rows, calm) = (&rows, &calm);
            (0..width).map(move |x| near.clone().all(|row| calm[row][x] && rows[row][x] == rows[y][x]))
        };
        (0..rows.len()).into_par_iter().flat_map_iter(row).collect()
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
            [255, 255, 255] => '-',
            _ => '?',
        };
        outlines.rows().map(|row| row.map(shown).collect()).collect()
    }

    #[test]
    fn a_line_runs_inside_the_border_and_only_there() {
        let rows = [
            "...........",
            ".#########.",
            ".#########.",
            ".#########.",
            ".#########.",
            ".#########.",
            ".#########.",
            ".#########.",
            "...........",
        ];
        let lines = [
            "...........",
            ".ooooooooo.",
            ".ooooooooo.",
            ".oo-----oo.",
            ".oo-...-oo.",
            ".oo-----oo.",
            ".ooooooooo.",
            ".ooooooooo.",
            "...........",
        ];
        assert_eq!(picture(&rows), lines);
    }

    #[test]
    fn the_edge_of_the_image_is_no_border() {
        assert_eq!(picture(&["######"; 4]), ["......"; 4]);
        assert_eq!(picture(&["#####."; 4]), ["..-oo."; 4]);
        assert_eq!(picture(&["#", "#", "#", "."]), ["-", "o", "o", "."]);
    }
}
