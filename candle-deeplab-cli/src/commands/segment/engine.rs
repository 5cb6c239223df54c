//! The network with the options for segmenting that the arguments give.

use anyhow::Result;
use candle_deeplab::graph::Size;
use candle_deeplab::segment::{Segmented, Segmenter, Wanted};
use candle_deeplab::{DeepLab, Error, Labels, Precision};
use image::RgbImage;

use super::style;
use crate::args::SegmentArgs;
use crate::resolve;

/// The warning for cutouts that are made without probabilities.
pub(super) const HARD_EDGES: &str = "the cutout has hard edges, since the probabilities would not fit into memory";

pub(super) struct Engine {
    segmenter: Segmenter,
    wanted: Wanted,
    /// The colours of the labels, if not the model's own.
    palette: Option<Vec<[u8; 3]>>,
    /// The classes to keep, if not all.
    keep: Option<Vec<u8>>,
    /// Pixels that tiles share.
    overlap: usize,
    /// It runs in the memory that pictures are in.
    on_cpu: bool,
}

impl Engine {
    pub(super) fn new(model: DeepLab, precision: Precision, args: &SegmentArgs) -> Result<Self> {
        let labels = &model.config().labels;
        let keep = if args.classes.is_empty() { None } else { Some(style::classes(labels, &args.classes)?) };
        // Each picture has its own memory limit.
        let options = resolve::options(&args.network, precision)?;
        let on_cpu = model.device().is_cpu();
        let segmenter = options.segmenter(model)?;
        let palette = style::palette(args.style.palette.as_ref(), segmenter.labels())?;
        let wanted = match (args.probs, args.cutout.is_empty()) {
            (true, _) => Wanted::Scores,
            // Cutouts with soft edges need the scores.
            (false, false) => Wanted::ScoresIfTheyFit,
            (false, true) => Wanted::LabelMap,
        };
        Ok(Self { segmenter, wanted, palette, keep, overlap: args.network.overlap, on_cpu })
    }

    pub(super) fn labels(&self) -> &Labels {
        self.segmenter.labels()
    }

    /// Whether cutouts get hard edges because the probabilities did not fit into memory.
    pub(super) fn has_hard_edges(&self, segmented: &Segmented) -> bool {
        self.wanted == Wanted::ScoresIfTheyFit && segmented.scores.is_none()
    }

    /// About how many bytes an image of a size takes from its pixels to its outputs, without what the network takes.
    pub(super) fn kept(&self, size: Size) -> u64 {
        /// Its pixels (3), their classes (1), an output (4) and its encoding (4), and room for what is made on the way.
        const PER_PIXEL: u64 = 16;
        let scores = match self.wanted {
            Wanted::LabelMap => 0,
            // Where nothing of it fits, the network says so.
            Wanted::ScoresIfTheyFit | Wanted::Scores => self.segmenter.scores_memory(size).unwrap_or(0),
        };
        (PER_PIXEL * size.area() as u64).saturating_add(scores)
    }

    /// Segments an image; the network may take `limit` bytes.
    pub(super) fn segment(&self, image: RgbImage, limit: Option<u64>) -> Result<Segmented> {
        // On a GPU another memory counts, of which only its fused executor knows.
        let limit = if self.on_cpu { limit } else { self.segmenter.device_memory()? };
        let segmenter = self.segmenter.clone().with_memory_limit(limit, self.overlap);
        let mut segmented = segmenter.run(image, self.wanted).map_err(|error| match error {
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
