//! A segmented image: its label map with class names and colours.

use image::RgbImage;

use super::LabelMap;
use crate::error::{Error, Result};
use crate::graph::Size;
use crate::labels::Labels;

/// The class of each pixel of an image, with the image and the classes' names and colours.
///
/// No network is needed: it can also be made from a ground-truth mask.
///
/// ```
/// use candle_deeplab::labels::Labels;
/// use candle_deeplab::segment::Segmentation;
/// use image::RgbImage;
///
/// let photo = RgbImage::new(2, 2);
/// let segmentation = Segmentation::new(vec![15, 15, 15, 0], Labels::voc(), photo)?;
/// let found = segmentation.found();
/// assert_eq!((found[0].name.as_str(), found[0].share), ("person", 0.75));
/// # Ok::<(), candle_deeplab::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segmentation {
    map: LabelMap,
    labels: Labels,
    image: RgbImage,
}

impl Segmentation {
    /// Joins a label map (row by row, one id per pixel) to the image that it describes.
    ///
    /// # Errors
    /// [`Error::Mask`] where the image has no pixels or another number of them, the labels are not valid, or an id is
    /// neither a class nor the labels' ignore value.
    pub fn new(ids: Vec<u8>, labels: Labels, image: RgbImage) -> Result<Self> {
        let (width, height) = image.dimensions();
        let map = LabelMap::new(ids, Size::new(height as usize, width as usize))?;
        if map.ids().is_empty() {
            return Err(Error::Mask(format!("no ids can label an image of {width}×{height} pixels")));
        }
        let classes = labels.names.len();
        labels.validate(classes).map_err(Error::Mask)?;
        let known = |id: u8| usize::from(id) < classes || labels.ignore == Some(id);
        if let Some(&id) = map.ids().iter().find(|&&id| !known(id)) {
            return Err(Error::Mask(format!("id {id} is none of the {classes} classes of `{}`", labels.dataset)));
        }
        Ok(Self { map, labels, image })
    }

    /// Keeps some of the classes. Pixels of other classes become background; or, if the labels have no background or it
    /// is kept itself, they get the ignore value (255 if the labels have none). A background that is kept counts as an
    /// ordinary class.
    ///
    /// # Errors
    /// [`Error::Mask`] where no value is left for the pixels that are not kept.
    pub fn keep(&self, classes: &[u8]) -> Result<Self> {
        let mut labels = self.labels.clone();
        labels.background = labels.background.filter(|class| !classes.contains(class));
        labels.ignore = labels.ignore.filter(|class| !classes.contains(class));
        let free = || (labels.names.len() <= 255).then_some(u8::MAX);
        let Some(rest) = labels.background.or(labels.ignore).or_else(free) else {
            let reason = "a label map of 256 classes has no value for pixels that are not kept";
            return Err(Error::Mask(reason.into()));
        };
        if labels.background.is_none() {
            labels.ignore = Some(rest);
        }
        let ids = self.ids().iter().map(|id| if classes.contains(id) { *id } else { rest }).collect();
        Ok(Self { map: LabelMap::new(ids, self.map.size())?, labels, image: self.image.clone() })
    }

    /// The same segmentation with other colours, one for each class in order; surplus colours are left out.
    ///
    /// # Errors
    /// [`Error::Mask`] where there are too few.
    pub fn with_palette(self, colors: Vec<[u8; 3]>) -> Result<Self> {
        Ok(Self { labels: self.labels.with_palette(colors).map_err(Error::Mask)?, ..self })
    }

    /// Columns of the label map and of the image.
    pub fn width(&self) -> u32 {
        self.image.width()
    }

    /// Rows of the label map and of the image.
    pub fn height(&self) -> u32 {
        self.image.height()
    }

    /// The class of each pixel.
    pub fn label_map(&self) -> &LabelMap {
        &self.map
    }

    /// The ids of the label map, row by row.
    pub fn ids(&self) -> &[u8] {
        self.map.ids()
    }

    /// The class of one pixel; `None` outside the image.
    pub fn id_at(&self, x: u32, y: u32) -> Option<u8> {
        self.map.id_at(x, y)
    }

    /// Names and colours of the classes.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The image that was segmented.
    pub fn image(&self) -> &RgbImage {
        &self.image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_found_by_column_and_row() {
        let segmentation = Segmentation::new(vec![0, 1, 2, 3, 4, 5], Labels::voc(), RgbImage::new(3, 2)).unwrap();
        assert_eq!((segmentation.width(), segmentation.height()), (3, 2));
        assert_eq!(segmentation.id_at(2, 0), Some(2));
        assert_eq!(segmentation.id_at(0, 1), Some(3));
        assert_eq!((segmentation.id_at(3, 0), segmentation.id_at(0, 2)), (None, None));
    }

    #[test]
    fn the_ignore_value_is_allowed_and_other_unknown_ids_are_not() {
        let new = |ids: &[u8]| Segmentation::new(ids.to_vec(), Labels::voc(), RgbImage::new(2, 1));
        assert!(new(&[20, 255]).is_ok());
        assert_eq!(new(&[0, 21]).unwrap_err().to_string(), "id 21 is none of the 21 classes of `voc`");
    }

    #[test]
    fn sizes_and_labels_must_agree() {
        let new = |ids: usize, labels: Labels, width| Segmentation::new(vec![0; ids], labels, RgbImage::new(width, 2));
        assert!(new(4, Labels::voc(), 2).is_ok());
        assert!(matches!(new(3, Labels::voc(), 2), Err(Error::Mask(_))));
        assert!(matches!(new(0, Labels::voc(), 0), Err(Error::Mask(_))));
        assert!(matches!(new(4, Labels::numbered(300), 2), Err(Error::Mask(_))));
    }

    #[test]
    fn what_is_not_kept_becomes_background_or_is_ignored() {
        let kept = |labels: Labels, classes: &[u8]| {
            let ids = vec![0, 1, 2, 3];
            let kept = Segmentation::new(ids, labels, RgbImage::new(4, 1)).unwrap().keep(classes).unwrap();
            (kept.ids().to_vec(), kept.labels.background, kept.labels.ignore)
        };
        assert_eq!(kept(Labels::voc(), &[1, 3]), (vec![0, 1, 0, 3], Some(0), Some(255)));
        assert_eq!(kept(Labels::voc(), &[0, 3]), (vec![0, 255, 255, 3], None, Some(255)));
        assert_eq!(kept(Labels::cityscapes(), &[0]), (vec![0, 255, 255, 255], None, Some(255)));
        assert_eq!(kept(Labels::ade20k(), &[0, 1]), (vec![0, 1, 255, 255], None, Some(255)));
        assert_eq!(kept(Labels::numbered(4), &[2]), (vec![255, 255, 2, 255], None, Some(255)));
        let full = Segmentation::new(vec![7], Labels::numbered(256), RgbImage::new(1, 1)).unwrap();
        assert!(full.keep(&[7]).is_err());
    }
}
