//! The appearance of pictures, from the arguments.

use anyhow::{Context, Error, Result, anyhow};
use candle_deeplab::Labels;
use candle_deeplab::labels::read_palette;
use candle_deeplab::mask::{self, Legend, Palette};
use candle_deeplab::segment::{Scores, Segmentation};
use image::{RgbImage, RgbaImage};

use crate::args::{Format, PaletteName, SegmentArgs};

/// Rows of the legend in a video: all frames have the same height, however many classes they show.
const FILM_ROWS: u32 = 2;

/// The appearance of pictures, and options of other outputs.
#[derive(Debug, Clone)]
pub(super) struct Style {
    look: mask::Style,
    /// The classes that the cutout shows.
    pub(super) cutout: Vec<u8>,
    /// Whether arrays hold probabilities.
    pub(super) probs: bool,
    pub(super) jpeg_quality: u8,
    pub(super) replace: bool,
}

impl Style {
    pub(super) fn new(args: &SegmentArgs, labels: &Labels) -> Result<Self> {
        let style = &args.style;
        let look = mask::Style {
            // With `--palette` the labels already have its colours.
            palette: if style.palette.is_some() { Palette::Labels } else { Palette::Vivid },
            opacity: style.opacity,
            outlines: !style.no_outlines,
            names: !style.no_names,
            legend: if style.legend { Legend::Below } else { Legend::None },
            min_share: style.min_share,
        };
        Ok(Self {
            look,
            cutout: classes(labels, &args.cutout)?,
            probs: args.probs,
            jpeg_quality: args.encoding.jpeg_quality(),
            replace: args.force,
        })
    }

    /// The same for a video, whose frames all have one size.
    pub(super) fn for_film(&self) -> Self {
        let legend = if self.look.legend == Legend::None { Legend::None } else { Legend::Rows(FILM_ROWS) };
        Self { look: mask::Style { legend, ..self.look.clone() }, ..self.clone() }
    }

    /// The height of a video's pictures in pixels, with the legend.
    pub(super) fn film_height(&self, width: u32, height: u32) -> u32 {
        height + self.look.legend.height(width, height)
    }

    /// Draws a format that is an RGB picture.
    pub(super) fn picture(&self, segmentation: &Segmentation, format: Format) -> RgbImage {
        match format {
            Format::Color => segmentation.colors(&self.look),
            Format::Contours => segmentation.contours(&self.look),
            _ => segmentation.overlay(&self.look),
        }
    }

    /// The wanted classes on a transparent background; without scores their edge is hard.
    pub(super) fn cutout(&self, segmentation: &Segmentation, scores: Option<&Scores>) -> Result<RgbaImage> {
        Ok(segmentation.cutout(&self.cutout, scores)?)
    }
}

/// The colours that `--palette` asks for, for a model with these labels.
pub(super) fn palette(name: Option<&PaletteName>, labels: &Labels) -> Result<Option<Vec<[u8; 3]>>> {
    let Some(name) = name else { return Ok(None) };
    let classes = labels.names.len();
    let colors = match name {
        PaletteName::Vivid => labels.vivid()[..classes].to_vec(),
        // VOC's colour map continues for any number of classes.
        PaletteName::Voc => Labels::numbered(classes).palette,
        PaletteName::Cityscapes => Labels::cityscapes().palette,
        PaletteName::Ade20k if labels.background.is_some() => Labels::ade20k().palette,
        PaletteName::Ade20k => Labels::ade20k_150().palette,
        PaletteName::File(path) => read_palette(path).context("cannot read the palette")?,
    };
    let labels =
        labels.clone().with_palette(colors).map_err(|reason| anyhow!("{reason}: choose another with `--palette`"))?;
    Ok(Some(labels.palette))
}

/// The ids of classes that are given by name or by id.
pub(super) fn classes(labels: &Labels, asked: &[String]) -> Result<Vec<u8>> {
    let found = asked.iter().map(|class| labels.find(class).map_err(Error::msg)).collect::<Result<Vec<_>>>()?;
    Ok(found.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_sets_palette_is_for_models_with_as_many_classes() {
        let first = |name: PaletteName, labels: Labels| palette(Some(&name), &labels).unwrap().unwrap()[1];
        assert_eq!(first(PaletteName::Voc, Labels::ade20k()), [128, 0, 0]);
        assert_eq!(first(PaletteName::Ade20k, Labels::voc()), Labels::ade20k().palette[1]);
        assert_eq!(first(PaletteName::Ade20k, Labels::cityscapes()), Labels::ade20k().palette[2]);
        assert_eq!(first(PaletteName::Vivid, Labels::voc()), Labels::voc().vivid()[1]);
        let error = palette(Some(&PaletteName::Cityscapes), &Labels::voc()).unwrap_err().to_string();
        assert_eq!(error, "the palette has 19 colours for 21 classes: choose another with `--palette`");
        assert_eq!(palette(None, &Labels::voc()).unwrap(), None);
    }
}
