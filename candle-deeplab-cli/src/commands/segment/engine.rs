//! The network with the options for segmenting that the arguments give.

use anyhow::Result;
use candle_deeplab::segment::{Options, Segmented, Segmenter, Tiles, Wanted, free_memory};
use candle_deeplab::{DeepLab, Error, Labels, Precision};
use image::RgbImage;

use super::style;
use crate::args::SegmentArgs;

/// The warning for cutouts that are made without probabilities.
pub(super) const HARD_EDGES: &str = "the cutout has hard edges, since the probabilities would not fit into memory";

pub(super) struct Engine {
    segmenter: Segmenter,
    wanted: Wanted,
    /// The colours of the labels, if not the model's own.
    palette: Option<Vec<[u8; 3]>>,
    /// The classes to keep, if not all.
    keep: Option<Vec<u8>>,
}

impl Engine {
    pub(super) fn new(model: DeepLab, precision: Precision, args: &SegmentArgs) -> Result<Self> {
        let labels = &model.config().labels;
        let keep = if args.classes.is_empty() { None } else { Some(style::classes(labels, &args.classes)?) };
        let options = Options {
            output_stride: args.output_stride,
            precision,
            scales: args.scales.clone(),
            flip: args.flip,
            tiles: tiles(args)?,
            // The limit of a GPU's memory is not known here.
            memory_limit: if model.device().is_cpu() { free_memory() } else { None },
            overlap: args.overlap,
        };
        let segmenter = options.segmenter(model)?;
        let palette = style::palette(args.style.palette.as_ref(), segmenter.labels())?;
        let wanted = match (args.probs, args.cutout.is_empty()) {
            (true, _) => Wanted::Scores,
            // Cutouts with soft edges need the scores.
            (false, false) => Wanted::ScoresIfTheyFit,
            (false, true) => Wanted::LabelMap,
        };
        Ok(Self { segmenter, wanted, palette, keep })
    }

    pub(super) fn labels(&self) -> &Labels {
        self.segmenter.labels()
    }

    /// Whether cutouts get hard edges because the probabilities did not fit into memory.
    pub(super) fn has_hard_edges(&self, segmented: &Segmented) -> bool {
        self.wanted == Wanted::ScoresIfTheyFit && segmented.scores.is_none()
    }

    pub(super) fn segment(&self, image: RgbImage) -> Result<Segmented> {
        let mut segmented = self.segmenter.run(image, self.wanted).map_err(|error| match error {
            Error::Memory { .. } if self.wanted == Wanted::Scores => {
                anyhow::Error::from(error).context("leave `--probs` out, which needs much memory")
            }
            error => error.into(),
        })?;
        if let Some(classes) = &self.keep {
            segmented.segmentation = segmented.segmentation.keep(classes)?;
        }
        if let Some(palette) = &self.palette {
            segmented.segmentation = segmented.segmentation.with_palette(palette.clone())?;
        }
        Ok(segmented)
    }
}

/// The tiles that the arguments ask for.
pub(super) fn tiles(args: &SegmentArgs) -> Result<Option<Tiles>> {
    Ok(args.tile.map(|(height, width)| Tiles::new(height, width, args.overlap)).transpose()?)
}
