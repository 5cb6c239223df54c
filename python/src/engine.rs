//! A network that is ready to segment.

use candle_deeplab::graph::Size;
use candle_deeplab::segment::{Options, Segmented, Segmenter, Wanted, free_memory};
use candle_deeplab::{DeepLab, Result};
use image::RgbImage;

use crate::pool;

/// An image that takes less than this is decoded and segmented whole, without asking the system how much memory is free: that
/// takes about as long as a hundredth of a small network's work.
pub(crate) const SMALL: u64 = 512 << 20;

/// The share of the free memory that the network may take, as in the program; the rest is for images and outputs.
const SHARE: (u64, u64) = (3, 4);

/// A network with the options that it segments with.
#[derive(Debug)]
pub(crate) struct Engine {
    model: DeepLab,
    segmenter: Segmenter,
    /// Pixels that tiles share.
    overlap: usize,
}

impl Engine {
    /// Makes the network ready: its weights are packed here, and not by the first call.
    ///
    /// # Errors
    /// Those of [`Options::segmenter`] and [`DeepLab::fused`].
    pub(crate) fn new(model: DeepLab, options: Options) -> Result<Self> {
        let mut model = model.with_precision(options.precision)?;
        if let Some(stride) = options.output_stride {
            model = model.at_output_stride(stride)?;
        }
        model.fused()?;
        let options = Options { output_stride: None, ..options };
        // Both share the packed weights.
        Ok(Self { segmenter: options.segmenter(model.clone())?, model, overlap: options.overlap })
    }

    /// The network.
    pub(crate) fn model(&self) -> &DeepLab {
        &self.model
    }

    /// Segments an image.
    ///
    /// # Errors
    /// Those of [`Segmenter::run`].
    pub(crate) fn segment(&self, image: RgbImage, wanted: Wanted) -> Result<Segmented> {
        let size = Size::new(image.height() as usize, image.width() as usize);
        match self.memory_limit(size) {
            None => self.segmenter.run(image, wanted),
            limit => self.segmenter.clone().with_memory_limit(limit, self.overlap).run(image, wanted),
        }
    }

    /// How many bytes an image of a size may take.
    fn memory_limit(&self, image: Size) -> Option<u64> {
        // On a GPU another memory counts, of which nobody knows anything here.
        if !self.model.device().is_cpu() {
            return None;
        }
        match self.segmenter.memory(image) {
            Ok(needed) if needed.is_none_or(|needed| needed <= SMALL) => None,
            // An input that the network cannot take whole may work in tiles.
            // Images that others segment meanwhile may be as large.
            _ => free_memory().map(|free| free / SHARE.1 * SHARE.0 / pool::busy().max(1) as u64),
        }
    }
}
