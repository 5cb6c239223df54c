//! The network, ready to look at images as the arguments say.

use anyhow::{Result, ensure};
use candle_deeplab::pixels::Size;
use candle_deeplab::segment::{MultiScale, Scores, Segmentation, Segmenter, Tiles};
use candle_deeplab::{DeepLab, Labels, Precision};
use image::DynamicImage;

use super::style;
use crate::args::SegmentArgs;
use crate::memory;

/// What is said where cutouts have to do without probabilities.
pub(super) const HARD_EDGES: &str = "the cutout has hard edges, since the probabilities would not fit into memory";

pub(super) struct Engine {
    segmenter: Segmenter,
    model: DeepLab,
    scales: Vec<f64>,
    tiles: Option<Tiles>,
    overlap: usize,
    /// Bytes that feature maps may take, where that is known.
    budget: Option<u64>,
    scores: Wanted,
    /// The colours that the labels get, if others than their own.
    palette: Option<Vec<[u8; 3]>>,
    /// The classes that are kept, if not all.
    keep: Option<Vec<u8>>,
}

/// Whether probabilities are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    No,
    /// For the edges of cutouts, which are hard without.
    IfTheyFit,
    /// To be written.
    Yes,
}

/// An image's answer.
pub(super) struct Answer {
    pub(super) segmentation: Segmentation,
    pub(super) scores: Option<Scores>,
    /// Whether cutouts have to do without the probabilities, for want of memory.
    pub(super) hard_edges: bool,
    /// The tiles that the image was cut into for want of memory, and how many they were.
    pub(super) tiled: Option<(Tiles, usize)>,
}

impl Engine {
    pub(super) fn new(model: DeepLab, precision: Precision, args: &SegmentArgs) -> Result<Self> {
        let mut model = model.with_precision(precision)?;
        if let Some(stride) = args.output_stride {
            model = model.at_output_stride(stride)?;
        }
        let labels = &model.config().labels;
        let keep = if args.classes.is_empty() { None } else { Some(style::classes(labels, &args.classes)?) };
        let scales = match (&args.scales[..], args.flip) {
            ([], false) => vec![],
            ([], true) => vec![1.0],
            (scales, _) => scales.to_vec(),
        };
        // On a GPU another memory counts, of which nobody knows anything here.
        let budget = if model.device().is_cpu() { memory::budget() } else { None };
        let segmenter = match &scales[..] {
            [] => Segmenter::new(model.clone()),
            scales => Segmenter::multi_scale(MultiScale::new(model.clone(), scales, args.flip)?),
        };
        let tiles = tiles(args)?;
        let palette = style::palette(args.style.palette.as_ref(), segmenter.labels())?;
        let scores = match (args.probs, args.cutout.is_empty()) {
            (true, _) => Wanted::Yes,
            (false, false) => Wanted::IfTheyFit,
            (false, true) => Wanted::No,
        };
        Ok(Self { segmenter, model, scales, tiles, overlap: args.overlap, budget, scores, palette, keep })
    }

    pub(super) fn labels(&self) -> &Labels {
        self.segmenter.labels()
    }

    pub(super) fn segment(&self, image: &DynamicImage) -> Result<Answer> {
        let size = Size::new(image.height() as usize, image.width() as usize);
        let enough = |budget| memory::tiles(&self.model, size, &self.scales, self.overlap, budget);
        let of_need = if self.tiles.is_none() { self.budget.and_then(enough) } else { None };
        let tiles = self.tiles.or(of_need);
        let mut with_scores = self.scores != Wanted::No;
        if let (true, Some(_), Some(budget)) = (with_scores, tiles, self.budget) {
            // With tiles the probabilities of the whole image are in memory.
            let bytes = (self.labels().names.len() * size_of::<f32>()) as u64 * size.area() as u64;
            with_scores = bytes <= budget;
            ensure!(
                with_scores || self.scores == Wanted::IfTheyFit,
                "the probabilities of {} classes at {}×{} pixels take {} MiB, more than there is: leave `--probs` out, \
                 or make the image smaller",
                self.labels().names.len(),
                size.width,
                size.height,
                bytes >> 20
            );
        }
        let segmenter = self.segmenter.clone().with_tiles(tiles);
        let (segmentation, scores) = match with_scores {
            true => segmenter.segment_with_scores(image).map(|(segmentation, scores)| (segmentation, Some(scores)))?,
            false => (segmenter.segment(image)?, None),
        };
        let segmentation = match &self.keep {
            Some(classes) => segmentation.keep(classes)?,
            None => segmentation,
        };
        let segmentation = match &self.palette {
            Some(palette) => segmentation.with_palette(palette.clone())?,
            None => segmentation,
        };
        let hard_edges = self.scores == Wanted::IfTheyFit && !with_scores;
        Ok(Answer { segmentation, scores, hard_edges, tiled: of_need.map(|tiles| (tiles, tiles.count(size))) })
    }
}

/// The tiles that were asked for.
pub(super) fn tiles(args: &SegmentArgs) -> Result<Option<Tiles>> {
    Ok(args.tile.map(|(height, width)| Tiles::new(height, width, args.overlap)).transpose()?)
}
