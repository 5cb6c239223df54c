//! Statistics of how much of an image each class covers, and where.

use rayon::prelude::*;
use serde::Serialize;

use crate::labels::{Labels, MAX_CLASSES};
use crate::segment::{LabelMap, Segmentation};

/// A class and how much of the image it covers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coverage {
    /// The class id.
    pub class: u8,
    /// The name of the class.
    pub name: String,
    /// The number of its pixels, at least 1.
    pub pixels: u64,
    /// Its share of all pixels, above 0 and at most 1.
    pub share: f64,
    /// The smallest box around its pixels: x, y, width, height.
    pub bbox: [u32; 4],
}

/// The pixels of a class and their bounding box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) pixels: u64,
    /// x, y, width and height of the smallest box around its pixels.
    pub(super) bbox: [u32; 4],
}

/// The extent of each class, by its id.
type Extents = [Option<Extent>; MAX_CLASSES];

impl Extent {
    /// The extent of two parts of a class together.
    fn join(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
        let end = |extent: &Self, axis: usize| extent.bbox[axis] + extent.bbox[2 + axis];
        let [left, top] = [0, 1].map(|axis| a.bbox[axis].min(b.bbox[axis]));
        let [right, bottom] = [0, 1].map(|axis| end(&a, axis).max(end(&b, axis)));
        Some(Self { pixels: a.pixels + b.pixels, bbox: [left, top, right - left, bottom - top] })
    }
}

impl LabelMap {
    /// The number of pixels of each id.
    pub(super) fn counts(&self) -> [u64; MAX_CLASSES] {
        self.extents().map(|extent| extent.map_or(0, |extent| extent.pixels))
    }

    /// The extent of each class, by its id; `None` for classes that are not in the image.
    pub(super) fn extents(&self) -> Extents {
        let width = self.size().width.max(1);
        let row = |mut extents: Extents, (y, ids): (usize, &[u8])| {
            let mut x = 0;
            for run in ids.chunk_by(|a, b| a == b) {
                let bbox = [x, y as u32, run.len() as u32, 1];
                let here = Extent { pixels: run.len() as u64, bbox };
                let extent = &mut extents[usize::from(run[0])];
                *extent = Extent::join(*extent, Some(here));
                x += run.len() as u32;
            }
            extents
        };
        let none = || [None; MAX_CLASSES];
        let join = |a: Extents, b: Extents| std::array::from_fn(|id| Extent::join(a[id], b[id]));
        let rows = self.ids().par_chunks_exact(width).enumerate();
        rows.with_min_len(256).fold(none, row).reduce(none, join)
    }

    /// The classes that are in the image, the largest first. The background counts as a class.
    pub fn found(&self, labels: &Labels) -> Vec<Coverage> {
        let all = self.ids().len() as f64;
        let row = |(class, extent): (u8, Option<Extent>)| {
            let Extent { pixels, bbox } = extent?;
            Some(Coverage { class, name: labels.name(class), pixels, share: pixels as f64 / all, bbox })
        };
        let mut found: Vec<_> = (0..=u8::MAX).zip(self.extents()).filter_map(row).collect();
        found.sort_by_key(|found| std::cmp::Reverse(found.pixels));
        found
    }
}

impl Segmentation {
    /// The classes that are in the image, the largest first. The background counts as a class.
    pub fn found(&self) -> Vec<Coverage> {
        self.label_map().found(self.labels())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Size;

    #[test]
    fn the_largest_comes_first_and_equals_keep_the_order_of_the_classes() {
        let ids = vec![9, 15, 15, 15, 7, 15, 255, 0];
        let found = LabelMap::new(ids, Size::new(2, 4)).unwrap().found(&Labels::voc());
        let rows: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.class, f.pixels, f.share)).collect();
        assert_eq!(found[0].bbox, [1, 0, 3, 2]);
        assert_eq!(
            rows,
            [
                ("person", 15, 4, 0.5),
                ("background", 0, 1, 0.125),
                ("car", 7, 1, 0.125),
                ("chair", 9, 1, 0.125),
                ("ignored", 255, 1, 0.125),
            ]
        );
    }

    #[test]
    fn boxes_are_tight() {
        for ids in 0..1u32 << 12 {
            let ids: Vec<u8> = (0..12).map(|bit| (ids >> bit & 1) as u8).collect();
            let found = LabelMap::new(ids.clone(), Size::new(3, 4)).unwrap().found(&Labels::voc());
            for Coverage { class, bbox: [left, top, width, height], .. } in found {
                let at = |i: &usize| ids[*i] == class;
                let columns: Vec<u32> = (0..12).filter(at).map(|i| i as u32 % 4).collect();
                let rows: Vec<u32> = (0..12).filter(at).map(|i| i as u32 / 4).collect();
                assert_eq!(Some(&left), columns.iter().min());
                assert_eq!(Some(left + width - 1), columns.iter().max().copied());
                assert_eq!((Some(&top), Some(top + height - 1)), (rows.iter().min(), rows.iter().max().copied()));
            }
        }
    }

    #[test]
    fn nothing_is_found_where_there_are_no_pixels() {
        for size in [Size::new(0, 0), Size::new(0, 5), Size::new(5, 0)] {
            let map = LabelMap::new(vec![], size).unwrap();
            assert_eq!((map.found(&Labels::voc()), map.rle(), map.regions()), (vec![], vec![], vec![]));
        }
    }
}
