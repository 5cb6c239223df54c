//! How much of an image each class covers.

use serde::Serialize;

use crate::labels::MAX_CLASSES;
use crate::segment::Segmentation;

/// A class and how much of the image it covers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// The class id.
    pub class: u8,
    /// What the class is called.
    pub name: String,
    /// The number of its pixels, at least 1.
    pub pixels: u64,
    /// Its pixels over all pixels, above 0 and at most 1.
    pub share: f64,
}

impl Segmentation {
    /// The classes that are in the image, the largest first. The background counts as a class.
    pub fn found(&self) -> Vec<Found> {
        let mut histogram = [0u64; MAX_CLASSES];
        for &id in self.ids() {
            histogram[usize::from(id)] += 1;
        }
        let all = self.ids().len() as f64;
        let row = |(class, pixels): (u8, u64)| {
            let name = self.labels().name(class);
            Found { class, name, pixels, share: pixels as f64 / all }
        };
        let mut found: Vec<_> = (0..=u8::MAX).zip(histogram).filter(|(_, pixels)| *pixels > 0).map(row).collect();
        found.sort_by_key(|found| std::cmp::Reverse(found.pixels));
        found
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::labels::Labels;

    #[test]
    fn the_largest_comes_first_and_equals_keep_the_order_of_the_classes() {
        let ids = vec![9, 15, 15, 15, 15, 7, 255, 0];
        let found = Segmentation::new(ids, Labels::voc(), RgbImage::new(4, 2)).unwrap().found();
        let rows: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.class, f.pixels, f.share)).collect();
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
}
