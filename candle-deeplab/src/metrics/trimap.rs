//! Scores near the borders of regions (a "trimap").

use serde::{Deserialize, Serialize};

use super::Confusion;
use crate::error::{Error, Result};
use crate::segment::LabelMap;

/// Confusion matrices of the pixels within some distances of a border in the ground truth.
///
/// A pixel belongs to the band of width `n` if a pixel with another label is at most `n` pixels away (Euclidean, between
/// centres). The ignore value is a label in this: in data sets such as VOC, whose regions have a rim of ignored pixels,
/// bands are the rim's dilation, as in Chen et al. 2018, section 4.3 and figure 5. Ignored pixels themselves do not
/// count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Trimap {
    /// In pixels, ascending.
    widths: Vec<u32>,
    /// The pixels that are within each width and not within the one before.
    rings: Vec<Confusion>,
}

/// A trimap as it is serialized, before it is checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    widths: Vec<u32>,
    rings: Vec<Confusion>,
}

/// A band around all borders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Band {
    /// The greatest distance to a pixel with another label, in pixels.
    pub width: u32,
    /// All pixels of the band.
    pub confusion: Confusion,
}

impl TryFrom<Parts> for Trimap {
    type Error = Error;

    fn try_from(Parts { widths, rings }: Parts) -> Result<Self> {
        let classes = rings.first().map_or(1, Confusion::classes);
        let empty = Self::new(classes, &widths)?;
        if rings.len() != widths.len() || rings.iter().any(|ring| ring.classes() != classes) {
            return Err(Error::Metrics(format!("{} matrices do not fit {} bands", rings.len(), widths.len())));
        }
        Ok(Self { rings, ..empty })
    }
}

impl From<Trimap> for Parts {
    fn from(Trimap { widths, rings }: Trimap) -> Self {
        Self { widths, rings }
    }
}

impl Trimap {
    /// The most bands. Each has a matrix of its own.
    pub const MOST_BANDS: usize = 256;

    /// Empty bands of these widths in pixels.
    ///
    /// # Errors
    /// [`Error::Metrics`] unless there are 1 to [`MOST_BANDS`](Self::MOST_BANDS) widths, ascending from at least 1; and
    /// as [`Confusion::new`].
    pub fn new(classes: usize, widths: &[u32]) -> Result<Self> {
        let ascend = widths.windows(2).all(|pair| pair[0] < pair[1]);
        if !(1..=Self::MOST_BANDS).contains(&widths.len()) || widths[0] == 0 || !ascend {
            return Err(Error::Metrics(format!(
                "bands of {widths:?} pixels: give 1 to {} widths, each at least 1 and greater than the one before",
                Self::MOST_BANDS
            )));
        }
        let rings = widths.iter().map(|_| Confusion::new(classes)).collect::<Result<_>>()?;
        Ok(Self { widths: widths.to_vec(), rings })
    }

    /// The bands' widths in pixels.
    pub fn widths(&self) -> &[u32] {
        &self.widths
    }

    /// Counts the pixels of an image near its borders.
    ///
    /// # Errors
    /// As [`Confusion::add`].
    pub fn add(&mut self, labels: &LabelMap, predictions: &[u8], ignore: Option<u8>) -> Result<()> {
        let ids = labels.ids();
        if ids.len() != predictions.len() {
            let (labels, predictions) = (ids.len(), predictions.len());
            return Err(Error::Metrics(format!("{predictions} predictions do not fit {labels} labels")));
        }
        let limits: Vec<f64> = self.widths.iter().map(|width| f64::from(*width).powi(2)).collect();
        let mut pixels = vec![(vec![], vec![]); limits.len()];
        for ((label, prediction), squared) in ids.iter().zip(predictions).zip(labels.squared_distances_to_borders()) {
            let ring = limits.partition_point(|limit| *limit < f64::from(squared));
            if let Some((labels, predictions)) = pixels.get_mut(ring) {
                labels.push(*label);
                predictions.push(*prediction);
            }
        }
        let mut counted = self.rings.clone();
        let rings = counted.iter_mut().zip(&pixels);
        rings.into_iter().try_for_each(|(ring, (labels, predictions))| ring.add(labels, predictions, ignore))?;
        self.rings = counted;
        Ok(())
    }

    /// Adds the counts of another trimap.
    ///
    /// # Errors
    /// [`Error::Metrics`], and nothing is added, where it has other bands or another number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if other.widths != self.widths {
            let (ours, theirs) = (&self.widths, &other.widths);
            return Err(Error::Metrics(format!("bands of {theirs:?} pixels cannot be added to those of {ours:?}")));
        }
        let mut merged = self.rings.clone();
        merged.iter_mut().zip(&other.rings).try_for_each(|(ring, other)| ring.merge(other))?;
        self.rings = merged;
        Ok(())
    }

    /// The bands, each with all pixels of the narrower ones.
    ///
    /// # Errors
    /// [`Error::Metrics`] where there are too many pixels to count.
    pub fn bands(&self) -> Result<Vec<Band>> {
        let mut bands: Vec<Band> = vec![];
        for (width, ring) in self.widths.iter().zip(&self.rings) {
            let mut confusion = ring.clone();
            if let Some(narrower) = bands.last() {
                confusion.merge(&narrower.confusion)?;
            }
            bands.push(Band { width: *width, confusion });
        }
        Ok(bands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Size;

    #[test]
    fn bands_hold_the_pixels_within_their_width_of_another_label() {
        // One row: class 0, an ignored pixel, class 1, and class 0 again.
        let ids = vec![0, 0, 0, 0, 255, 1, 1, 1, 1, 0, 0, 0];
        let predictions = [1, 0, 0, 0, 7, 1, 1, 1, 1, 0, 0, 0];
        let labels = LabelMap::new(ids, Size::new(1, 12)).unwrap();
        let mut trimap = Trimap::new(2, &[1, 2, 4]).unwrap();
        trimap.add(&labels, &predictions, Some(255)).unwrap();
        let bands = trimap.bands().unwrap();
        assert_eq!(bands.iter().map(|band| band.confusion.pixels()).collect::<Vec<_>>(), [4, 8, 11]);
        let right = bands.iter().map(|band| band.confusion.miou().unwrap() == 1.0).collect::<Vec<_>>();
        // The mistake is 4 pixels away from the border.
        assert_eq!(right, [true, true, false]);
        let text = serde_json::to_string(&trimap).unwrap();
        assert_eq!(serde_json::from_str::<Trimap>(&text).unwrap(), trimap);
        let mut twice = trimap.clone();
        twice.merge(&trimap).unwrap();
        assert_eq!(twice.bands().unwrap()[2].confusion.pixels(), 22);
    }

    #[test]
    fn an_image_of_one_label_has_no_borders() {
        let mut trimap = Trimap::new(2, &[1, 1000]).unwrap();
        trimap.add(&LabelMap::new(vec![1; 12], Size::new(3, 4)).unwrap(), &[1; 12], None).unwrap();
        assert_eq!(trimap.bands().unwrap()[1].confusion.pixels(), 0);
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        for widths in [&[][..], &[0], &[2, 2], &[3, 1], &(1..=257).collect::<Vec<_>>()] {
            assert!(Trimap::new(2, widths).is_err(), "{widths:?}");
        }
        let mut trimap = Trimap::new(2, &[1]).unwrap();
        let labels = LabelMap::new(vec![0, 1], Size::new(1, 2)).unwrap();
        assert!(trimap.add(&labels, &[0], None).is_err());
        assert!(trimap.add(&labels, &[0, 9], None).is_err());
        assert!(trimap.merge(&Trimap::new(2, &[2]).unwrap()).is_err());
        assert_eq!(trimap, Trimap::new(2, &[1]).unwrap());
        let wrong = r#"{"widths":[1,2],"rings":[{"classes":2,"cells":[]}]}"#;
        assert!(serde_json::from_str::<Trimap>(wrong).is_err());
    }
}
