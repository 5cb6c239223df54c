//! Options for segmenting with a model.

use super::{MultiScale, Segmenter, Tiles};
use crate::error::Result;
use crate::exec::Precision;
use crate::model::DeepLab;

/// Options for segmenting with a model. By default, the model is used as it is.
///
/// ```
/// use candle_core::Device;
/// use candle_deeplab::segment::{MultiScale, Options, free_memory};
///
/// let options = Options {
///     scales: MultiScale::VOC_SCALES.to_vec(),
///     flip: true,
///     memory_limit: free_memory(),
///     ..Options::default()
/// };
/// let segmenter = options.segmenter(candle_deeplab::bundled(&Device::Cpu)?)?;
/// # Ok::<(), candle_deeplab::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The output stride, if it is not the model's own: see [`DeepLab::at_output_stride`].
    pub output_stride: Option<usize>,
    /// The precision of the numbers that matmuls multiply: see [`DeepLab::with_precision`].
    pub precision: Precision,
    /// The scales at which the network sees an image; its answers are averaged: see [`MultiScale`]. An empty list means
    /// scale 1 only.
    pub scales: Vec<f64>,
    /// Whether the network sees the mirror image, too.
    pub flip: bool,
    /// The tiles that each image is cut into.
    pub tiles: Option<Tiles>,
    /// How many bytes an image may take for the network's feature maps and scores, beyond the weights and the image
    /// itself. By default, there is no limit. [`free_memory`](super::free_memory) is what the machine can spare for a
    /// network on the CPU.
    ///
    /// An image that would take more is cut into tiles, after the model's size rule has resized it.
    pub memory_limit: Option<u64>,
    /// Pixels that neighbouring tiles share, where an image is cut into tiles because of the memory limit.
    pub overlap: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            output_stride: None,
            precision: Precision::default(),
            scales: vec![],
            flip: false,
            tiles: None,
            memory_limit: None,
            overlap: 64,
        }
    }
}

impl Options {
    /// Makes a segmenter that uses a model with these options.
    ///
    /// # Errors
    /// Those of [`DeepLab::at_output_stride`], [`DeepLab::with_precision`] and [`MultiScale::new`].
    pub fn segmenter(&self, model: DeepLab) -> Result<Segmenter> {
        let mut model = model.with_precision(self.precision)?;
        if let Some(stride) = self.output_stride {
            model = model.at_output_stride(stride)?;
        }
        let segmenter = match (&self.scales[..], self.flip) {
            ([], false) => Segmenter::new(model),
            ([], true) => Segmenter::multi_scale(MultiScale::new(model, &[1.0], true)?),
            (scales, flip) => Segmenter::multi_scale(MultiScale::new(model, scales, flip)?),
        };
        Ok(segmenter.with_tiles(self.tiles).with_memory_limit(self.memory_limit, self.overlap))
    }
}
