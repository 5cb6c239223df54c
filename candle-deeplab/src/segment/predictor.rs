//! The network behind a segmenter.

use candle_core::Tensor;

use super::MultiScale;
use crate::error::Result;
use crate::graph::Size;
use crate::model::DeepLab;

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

    /// About how many bytes the feature maps take when the network [predicts](Self::predict) one input of this size;
    /// `None` if that is not known.
    ///
    /// # Errors
    /// [`Error::Graph`](crate::Error::Graph) for an input that the network cannot take.
    fn memory(&self, _input: Size) -> Result<Option<u64>> {
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
        self.fused()?.map(|cpu| cpu.label_map(pixels)).transpose()
    }

    fn memory(&self, input: Size) -> Result<Option<u64>> {
        Ok(Some(self.graph().peak_bytes(input.height, input.width)?))
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
}

impl<F: Fn(&Tensor) -> candle_core::Result<Tensor> + Send + Sync> Predictor for F {
    fn predict(&self, pixels: &Tensor) -> Result<Tensor> {
        Ok(self(pixels)?)
    }
}
