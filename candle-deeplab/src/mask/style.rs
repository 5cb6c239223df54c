//! What pictures of a segmentation look like.

use crate::labels::MAX_CLASSES;
use crate::segment::Segmentation;

/// What pictures of a segmentation look like: [`overlay`](Segmentation::overlay), [`contours`](Segmentation::contours)
/// and [`colors`](Segmentation::colors) take it.
///
/// Widths of lines and sizes of letters are no part of it: they follow the image's size, so that a small picture and a
/// large one look alike.
///
/// ```
/// use candle_deeplab::labels::Labels;
/// use candle_deeplab::mask::{Legend, Style};
/// use candle_deeplab::segment::Segmentation;
/// use image::RgbImage;
///
/// let ids = vec![15; 80 * 60];
/// let segmentation = Segmentation::new(ids, Labels::voc(), RgbImage::new(80, 60))?;
/// let plain = segmentation.overlay(&Style::default());
/// assert_eq!(plain.dimensions(), (80, 60));
///
/// let style = Style { legend: Legend::Below, ..Style::default() };
/// assert!(segmentation.overlay(&style).height() > 60);
/// # Ok::<(), candle_deeplab::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Style {
    /// The classes' colours in overlays and contours.
    pub palette: Palette,
    /// How much an overlay's colours cover the photograph: 0 leaves it as it is, 1 hides it. Values beyond are taken as
    /// these, NaN as 0.
    pub opacity: f32,
    /// Whether overlays have outlines around the regions.
    pub outlines: bool,
    /// Whether overlays and contours have the classes' names in the regions that are large enough.
    pub names: bool,
    /// What is below the picture.
    pub legend: Legend,
    /// Classes that cover less of the image than this, from 0 to 1, are as background in overlays and contours, and not
    /// in legends. Label maps, numbers, polygons and [`colors`](Segmentation::colors) have them nonetheless.
    pub min_share: f64,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            palette: Palette::Vivid,
            opacity: 0.6,
            outlines: true,
            names: true,
            legend: Legend::None,
            min_share: 0.005,
        }
    }
}

/// Where the classes' colours come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Palette {
    /// [`Labels::vivid`](crate::labels::Labels::vivid): colours that people tell apart, on any photograph.
    #[default]
    Vivid,
    /// The labels' own, which are the data set's.
    Labels,
}

/// A strip below the picture with colour, name and share of the classes in it. The picture gets that much higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Legend {
    /// There is none.
    #[default]
    None,
    /// As high as its rows of classes, the largest first; nothing where there is no class.
    Below,
    /// So many rows high, whatever is in the picture, and in the classes' order: for films, whose frames are all of one
    /// size. Where there is no room for all classes, the last words say how many are missing.
    Rows(u32),
}

/// A style for one segmentation.
pub(super) struct Look {
    /// The colour of each class, by its id.
    pub(super) colors: [[u8; 3]; MAX_CLASSES],
    /// Which classes are drawn, by their ids.
    pub(super) drawn: [bool; MAX_CLASSES],
}

impl Segmentation {
    pub(super) fn look(&self, style: &Style) -> Look {
        let colors = match style.palette {
            Palette::Vivid => self.labels().vivid(),
            Palette::Labels => self.labels().png_palette(),
        };
        let counts = self.label_map().counts();
        let least = style.min_share * self.ids().len() as f64;
        let drawn = |id: usize| self.labels().draws(id as u8) && counts[id] > 0 && counts[id] as f64 >= least;
        Look { colors, drawn: std::array::from_fn(drawn) }
    }
}
