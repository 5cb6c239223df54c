//! The network behind a segmenter.

use candle_core::Tensor;
use image::RgbImage;

use super::MultiScale;
use crate::config::Preprocessing;
use crate::error::Result;
#[cfg(feature = "cuda")]
use crate::exec::cuda::Pictures;
use crate::graph::Size;
use crate::model::DeepLab;
use crate::pixels::Geometry;

/// A network as a [`Segmenter`](super::Segmenter) needs it: from preprocessed pixels to a score for each class.
///
/// [`DeepLab`] and [`MultiScale`] are predictors, and so is any function of a tensor, such as another candle module's
/// forward pass:
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_deeplab::config::{Filter, Preprocessing, SizeRule};
/// use candle_deeplab::{Labels, Segmenter};
/// use image::DynamicImage;
///
/// // A "network" that calls the strongest colour the class.
/// let network = |pixels: &Tensor| pixels.affine(1.0, 0.0);
/// let preprocessing = Preprocessing {
///     mean: [0.0; 3],
///     std: [255.0; 3],
///     pad_value: [0.0; 3],
///     size: SizeRule::Native { height: 1, width: 1 },
///     filter: Filter::Bilinear,
/// };
/// let segmenter = Segmenter::from_parts(network, preprocessing, Labels::numbered(3), Device::Cpu);
/// assert_eq!(segmenter.segment(&DynamicImage::new_rgb8(2, 2))?.ids(), [0; 4]);
/// # Ok::<(), candle_deeplab::Error>(())
/// ```
pub trait Predictor: Send + Sync {
    /// Computes scores `[N, classes, H, W]` from preprocessed pixels `[N, 3, H, W]`.
    ///
    /// # Errors
    /// Any error of the network.
    fn predict(&self, pixels: &Tensor) -> Result<Tensor>;

    /// Whether the scores are logits or probabilities.
    fn answer(&self) -> Answer {
        Answer::Logits
    }

    /// The class with the greatest score at each pixel, u8 `[N, H, W]`, if the network can find it faster than by
    /// computing all scores; `None` if it cannot.
    ///
    /// # Errors
    /// As [`predict`](Self::predict), and [`Error::NotFinite`](crate::Error::NotFinite) where a score is NaN.
    fn label_map(&self, _pixels: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// The class of each pixel of images of one size, row by row, if the network does all of it: resizing, normalising and
    /// padding the images, and finding the classes at their own size. A network on a GPU can, so that nothing else crosses
    /// the bus. `None` if it cannot.
    ///
    /// # Errors
    /// As [`label_map`](Self::label_map).
    fn label_images(
        &self,
        _images: &[&RgbImage],
        _preprocessing: &Preprocessing,
        _geometry: &Geometry,
    ) -> Result<Option<Vec<Vec<u8>>>> {
        Ok(None)
    }

    /// About how many bytes the feature maps take when the network [predicts](Self::predict) one input of this size;
    /// `None` if that is not known.
    ///
    /// # Errors
    /// [`Error::Graph`](crate::Error::Graph) for an input that the network cannot take.
    fn memory(&self, _input: Size) -> Result<Option<u64>> {
        Ok(None)
    }

    /// How many bytes the feature maps may take on the network's own device. `None` if they are in the process's memory, or
    /// if that is not known.
    ///
    /// # Errors
    /// Where the device does not say.
    fn device_memory(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// What a network's scores are: logits or probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Unnormalized scores, the greatest of which wins, as from [`DeepLab`].
    Logits,
    /// Probabilities, which sum to 1 over the classes, as from [`MultiScale`].
    Probabilities,
}

impl Predictor for DeepLab {
    fn predict(&self, pixels: &Tensor) -> Result<Tensor> {
        self.output(pixels)
    }

    fn label_map(&self, pixels: &Tensor) -> Result<Option<Tensor>> {
        // The eager executor has no faster way.
        #[cfg(feature = "cuda")]
        if let Some(cuda) = self.cuda()? {
            return cuda.label_map(pixels).map(Some);
        }
        self.fused()?.map(|cpu| cpu.label_map(pixels)).transpose()
    }

    #[cfg(feature = "cuda")]
    fn label_images(
        &self,
        images: &[&RgbImage],
        preprocessing: &Preprocessing,
        geometry: &Geometry,
    ) -> Result<Option<Vec<Vec<u8>>>> {
        let Some(cuda) = self.cuda()? else { return Ok(None) };
        let bytes: Vec<&[u8]> = images.iter().map(|image| image.as_raw().as_slice()).collect();
        let Geometry { image, valid, input } = *geometry;
        cuda.label_maps(Pictures { bytes: &bytes, image, preprocessing, valid, input }).map(Some)
    }

    fn memory(&self, input: Size) -> Result<Option<u64>> {
        #[cfg(feature = "cuda")]
        if let Some(cuda) = self.cuda()? {
            return cuda.memory(input).map(Some);
        }
        Ok(Some(self.graph().peak_bytes(input.height, input.width)?))
    }

    #[cfg(feature = "cuda")]
    fn device_memory(&self) -> Result<Option<u64>> {
        self.cuda()?.map(|cuda| cuda.room()).transpose()
    }
}

impl Predictor for MultiScale {
    fn predict(&self, pixels: &Tensor) -> Result<Tensor> {
        self.probabilities(pixels)
    }

    fn answer(&self) -> Answer {
        Answer::Probabilities
    }

    fn memory(&self, input: Size) -> Result<Option<u64>> {
        let largest = self.largest(input);
        let looks = self.model().graph().peak_bytes(largest.height, largest.width)?;
        // The sum of the earlier scales' probabilities, the resized logits of the current scale, and their softmax.
        let answers = input.bytes(3 * self.model().config().network.classes);
        Ok(Some(looks.saturating_add(answers)))
    }

    fn device_memory(&self) -> Result<Option<u64>> {
        self.model().device_memory()
    }
}

impl<F: Fn(&Tensor) -> candle_core::Result<Tensor> + Send + Sync> Predictor for F {
    fn predict(&self, pixels: &Tensor) -> Result<Tensor> {
        Ok(self(pixels)?)
    }
}
