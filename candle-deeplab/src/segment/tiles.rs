//! Segments large images in overlapping tiles.

use image::{RgbImage, imageops};

use super::{Answer, Scores};
use crate::error::{Error, Result};
use crate::pixels::Size;
use crate::upsample::{Logits, label_map};

/// How an image is cut into overlapping tiles. Each tile goes through the network on its own, and where tiles overlap
/// their scores are averaged (mmsegmentation's `slide_inference`).
///
/// The image is **not** resized, whatever the model's size rule says. So objects should be about as large in it as in
/// the training images, and a tile about as large as the training crop. Tiles at the right and bottom edges are moved
/// inwards; an image that is smaller than a tile is padded to it. A larger overlap gives the network more context at
/// each seam, and costs time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    height: usize,
    width: usize,
    overlap: usize,
}

impl Tiles {
    /// Tiles of `height` × `width` pixels that share `overlap` rows or columns with their neighbours.
    ///
    /// # Errors
    /// [`Error::Tiles`] where a side is 0 or the overlap is not less than both sides.
    pub fn new(height: usize, width: usize, overlap: usize) -> Result<Self> {
        if overlap >= height || overlap >= width {
            return Err(Error::Tiles { height, width, overlap });
        }
        Ok(Self { height, width, overlap })
    }

    /// The size of a tile.
    pub fn size(&self) -> Size {
        Size::new(self.height, self.width)
    }

    /// Rows or columns that neighbours share.
    pub fn overlap(&self) -> usize {
        self.overlap
    }

    /// How many tiles an image needs.
    pub fn count(&self, image: Size) -> usize {
        let along = |side, tile| positions(side, tile, self.overlap).len();
        along(image.height, self.height) * along(image.width, self.width)
    }
}

/// The positions at which tiles begin along a side.
fn positions(side: usize, tile: usize, overlap: usize) -> Vec<usize> {
    let last = side.saturating_sub(tile);
    let mut positions: Vec<usize> = (0..last).step_by(tile - overlap).collect();
    positions.push(last);
    positions
}

/// For each row or column, 1 / the number of tiles that cover it.
fn weights(side: usize, tile: usize, positions: &[usize]) -> Vec<f32> {
    let mut covered = vec![0u32; side];
    for &begin in positions {
        covered[begin..(begin + tile).min(side)].iter_mut().for_each(|count| *count += 1);
    }
    covered.into_iter().map(|count| 1.0 / count as f32).collect()
}

/// Computes the scores of a tile.
type Look<'a> = dyn Fn(&RgbImage) -> Result<Scores> + 'a;

impl Tiles {
    /// The label map of an image by its tiles.
    pub(super) fn label_map(self, image: &RgbImage, classes: usize, look: &Look) -> Result<Vec<u8>> {
        let mut ids = Vec::with_capacity(image.width() as usize * image.height() as usize);
        self.strips(image, classes, look, |strip| ids.extend(label_map(&strip, strip.size)))?;
        Ok(ids)
    }

    /// The scores of an image by its tiles, at the image's size. `of` is the size that it had before it was resized.
    pub(super) fn scores(
        self,
        image: &RgbImage,
        classes: usize,
        answer: Answer,
        of: Size,
        look: &Look,
    ) -> Result<Scores> {
        let size = Size::new(image.height() as usize, image.width() as usize);
        let (mut planes, mut done) = (vec![0.0; classes * size.area()], 0);
        self.strips(image, classes, look, |strip| {
            for (class, plane) in planes.chunks_exact_mut(size.area()).enumerate() {
                let from = &strip.data[class * strip.class_stride..][..strip.size.area()];
                plane[done * size.width..][..strip.size.area()].copy_from_slice(from);
            }
            done += strip.size.height;
        })?;
        Scores::from_planes(planes, answer, (classes, size), of)
    }

    /// Averages one row of tiles after another, and passes the rows of the image that no further tile touches to
    /// `finished`, so that only a strip as high as a tile is in memory at a time.
    fn strips(self, image: &RgbImage, classes: usize, look: &Look, mut finished: impl FnMut(Logits)) -> Result<()> {
        let size = Size::new(image.height() as usize, image.width() as usize);
        let width = size.width;
        let rows = positions(size.height, self.height, self.overlap);
        let columns = positions(width, self.width, self.overlap);
        let row_weights = weights(size.height, self.height, &rows);
        let column_weights = weights(width, self.width, &columns);

        let height = self.height.min(size.height);
        let plane = height * width;
        let mut strip = vec![0.0; classes * plane];
        for (index, &top) in rows.iter().enumerate() {
            for &left in &columns {
                let tile = imageops::crop_imm(image, left as u32, top as u32, self.width as u32, self.height as u32);
                add(&look(&tile.to_image())?, left, (&mut strip, plane, width))?;
            }
            let done = rows.get(index + 1).map_or(height, |next| next - top);
            for values in strip.chunks_exact_mut(plane) {
                for (values, down) in values.chunks_exact_mut(width).zip(&row_weights[top..top + done]) {
                    values.iter_mut().zip(&column_weights).for_each(|(value, across)| *value *= down * across);
                }
            }
            let size = Size::new(done, width);
            finished(Logits { data: &strip, classes, size, class_stride: plane, row_stride: width });
            for values in strip.chunks_exact_mut(plane) {
                values.copy_within(done * width.., 0);
                values[plane - done * width..].fill(0.0);
            }
        }
        Ok(())
    }
}

/// Adds the scores of one tile to the strip, whose plane size and row length come with it.
fn add(scores: &Scores, left: usize, (strip, plane, width): (&mut [f32], usize, usize)) -> Result<()> {
    scores.read(|logits| {
        for (class, plane) in strip.chunks_exact_mut(plane).enumerate() {
            for (y, row) in plane.chunks_exact_mut(width).take(logits.size.height).enumerate() {
                let from = &logits.data[class * logits.class_stride + y * logits.row_stride..];
                let to = row[left..].iter_mut().take(logits.size.width);
                to.zip(from).for_each(|(sum, value)| *sum += value);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use image::Rgb;

    use super::*;
    use crate::config::{Filter, Preprocessing, SizeRule};
    use crate::labels::Labels;
    use crate::segment::Segmenter;

    #[test]
    fn tiles_cover_a_side_and_end_with_it() {
        assert_eq!(positions(10, 4, 1), [0, 3, 6]);
        assert_eq!(positions(11, 4, 1), [0, 3, 6, 7]);
        assert_eq!(positions(10, 4, 0), [0, 4, 6]);
        assert_eq!((positions(4, 4, 2), positions(3, 4, 2)), (vec![0], vec![0]));
        assert_eq!(weights(5, 3, &[0, 2]), [1.0, 1.0, 0.5, 1.0, 1.0]);
        assert_eq!(Tiles::new(4, 4, 1).unwrap().count(Size::new(11, 3)), 4);
    }

    #[test]
    fn an_overlap_is_less_than_a_tile() {
        assert!(Tiles::new(4, 9, 3).is_ok());
        for (height, width, overlap) in [(4, 9, 4), (9, 4, 4), (0, 4, 0), (4, 0, 0)] {
            assert!(matches!(Tiles::new(height, width, overlap), Err(Error::Tiles { .. })));
        }
    }

    fn segmenter(network: impl Fn(&Tensor) -> candle_core::Result<Tensor> + Send + Sync + 'static) -> Segmenter {
        let size = SizeRule::Fit { height: 9, width: 9 };
        let (mean, std, pad_value) = ([0.0; 3], [255.0; 3], [255.0; 3]);
        let preprocessing = Preprocessing { mean, std, pad_value, size, filter: Filter::Bilinear };
        Segmenter::from_parts(network, preprocessing, Labels::numbered(3), Device::Cpu)
    }

    fn image(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 37 + y * 91) as u8, (x * y) as u8, (x * 5 + 200 - y) as u8]))
    }

    /// A network whose answer at a pixel depends only on that pixel gives the same result in tiles of any size, and
    /// never sees padding.
    #[test]
    fn a_network_that_sees_one_pixel_knows_no_tiles() {
        for (width, height) in [(23, 17), (8, 30), (5, 4), (1, 1), (64, 16)] {
            let image = image(width, height);
            let whole = |tiles: Option<Tiles>| {
                segmenter(|pixels: &Tensor| Ok(pixels.clone()))
                    .with_tiles(tiles)
                    .segment(&image.clone().into())
                    .unwrap()
            };
            let expected: Vec<u8> =
                image.pixels().map(|p| (0..3).rev().max_by_key(|&c| p.0[c]).unwrap() as u8).collect();
            for (h, w, overlap) in [(8, 8, 0), (8, 8, 3), (7, 16, 6), (16, 5, 1), (1, 1, 0)] {
                let tiles = Tiles::new(h, w, overlap).unwrap();
                assert_eq!(whole(Some(tiles)).ids(), expected, "{width}×{height} {tiles:?}");
            }
        }
    }

    /// The network answers with the mean of each row of a tile. Where tiles overlap, their means are averaged.
    #[test]
    fn answers_are_averaged_where_tiles_overlap() {
        let image = RgbImage::from_fn(3, 2, |x, _| Rgb([[30, 60, 150][x as usize], 0, 0]));
        let mean = |pixels: &Tensor| pixels.mean_keepdim(3)?.broadcast_as(pixels.shape())?.contiguous();
        let segmenter = segmenter(mean).with_tiles(Some(Tiles::new(2, 2, 1).unwrap()));
        let (_, scores) = segmenter.segment_with_scores(&image.into()).unwrap();
        let red: Vec<f32> =
            scores.read(|logits| logits.data[..3].iter().map(|v| (v * 255.0).round()).collect()).unwrap();
        assert_eq!(red, [45.0, 75.0, 105.0]);
    }

    #[test]
    fn scores_and_label_map_agree() {
        let image = image(29, 31).into();
        let blur = |pixels: &Tensor| pixels.avg_pool2d(3)?.upsample_nearest2d(pixels.dims()[2], pixels.dims()[3]);
        let segmenter = segmenter(blur).with_tiles(Some(Tiles::new(12, 10, 4).unwrap()));
        let (segmentation, scores) = segmenter.segment_with_scores(&image).unwrap();
        assert_eq!(segmentation.ids(), segmenter.segment(&image).unwrap().ids());
        assert_eq!(scores.classes(), 3);
    }
}
