//! Styles of pictures of a segmentation.

use crate::labels::MAX_CLASSES;
use crate::segment::Segmentation;

/// The style of pictures of a segmentation, for [`overlay`](Segmentation::overlay),
/// [`contours`](Segmentation::contours) and [`colors`](Segmentation::colors).
///
/// Line widths and letter sizes are not part of it: they follow the image's size, so that small and large pictures look
/// alike.
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
    /// How much an overlay's colours cover the photograph: 0 leaves it unchanged, 1 hides it. Values outside are
    /// clamped, and NaN counts as 0.
    pub opacity: f32,
    /// Whether overlays have outlines around the regions.
    pub outlines: bool,
    /// Whether overlays and contours have the classes' names in the regions that are large enough.
    pub names: bool,
    /// The legend below the picture.
    pub legend: Legend,
    /// Classes that cover a smaller share of the image than this, from 0 to 1, are treated as background in overlays
    /// and contours, and left out of legends. They remain in label maps, statistics, polygons and
    /// [`colors`](Segmentation::colors).
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
    /// [`Labels::vivid`](crate::labels::Labels::vivid): colours that are easy to tell apart on any photograph.
    #[default]
    Vivid,
    /// The labels' own colours, which are those of the data set.
    Labels,
}

/// The legend of a picture: a strip below it with the colour, name and share of the classes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Legend {
    /// No legend.
    #[default]
    None,
    /// As many rows as the classes need, the largest first; no strip where no class is drawn.
    Below,
    /// A fixed number of rows, whatever is in the picture, in the order of the classes: for videos, whose frames all
    /// have one size. If there is no room for all classes, the last entry says how many are missing.
    Rows(u32),
}

/// A style applied to one segmentation.
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
