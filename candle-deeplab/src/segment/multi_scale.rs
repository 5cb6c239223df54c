//! Multi-scale inference: the mean answer over several scales of an image.

use candle_core::{Module, Tensor};

use crate::arch::LOGITS;
use crate::error::{Error, Result};
use crate::graph::Size;
use crate::model::DeepLab;
use crate::ops::resize_bilinear;

/// A model applied to several scales of its input, each optionally mirrored, whose class probabilities are averaged:
/// slower, and about one to two points of mIoU better (TensorFlow's `predict_labels_multi_scale` in
/// `deeplab/model.py`).
///
/// As a [`Module`], it maps preprocessed pixels `[N, 3, H, W]` to probabilities `[N, classes, H, W]`.
///
/// ```no_run
/// use candle_core::Device;
/// use candle_deeplab::segment::MultiScale;
/// use candle_deeplab::{DeepLab, Segmenter};
///
/// let model = DeepLab::load("model", &Device::Cpu)?.at_output_stride(8)?;
/// let segmenter = Segmenter::multi_scale(MultiScale::new(model, &MultiScale::VOC_SCALES, true)?);
/// # Ok::<(), candle_deeplab::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MultiScale {
    model: DeepLab,
    scales: Vec<f64>,
    flip: bool,
}

impl MultiScale {
    /// The scales of TensorFlow's published VOC evaluations.
    pub const VOC_SCALES: [f64; 6] = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75];

    /// Applies a model to several scales of its input, and with `flip` also to the mirror image of each.
    ///
    /// # Errors
    /// [`Error::Scales`] where there are none or one is not above zero and at most 8.
    pub fn new(model: DeepLab, scales: &[f64], flip: bool) -> Result<Self> {
        const LARGEST: f64 = 8.0;
        if scales.is_empty() || !scales.iter().all(|scale| *scale > 0.0 && *scale <= LARGEST) {
            return Err(Error::Scales { scales: scales.to_vec() });
        }
        Ok(Self { model, scales: scales.to_vec(), flip })
    }

    /// The model that is applied at each scale.
    pub fn model(&self) -> &DeepLab {
        &self.model
    }

    /// The size of an input at the largest scale.
    pub(super) fn largest(&self, input: Size) -> Size {
        let scale = self.scales.iter().copied().fold(1.0, f64::max);
        let side = |side: usize| (side as f64 * scale).ceil() as usize;
        Size::new(side(input.height), side(input.width))
    }

    /// The probabilities from one scale, mirrored or not.
    fn look(&self, pixels: &Tensor, scale: f64, mirrored: bool) -> Result<Tensor> {
        let align_corners = self.model.config().network.align_corners;
        let (_, _, height, width) = pixels.dims4()?;
        let mut input = pixels.clone();
        if scale != 1.0 {
            let side = |side: usize| ((side as f64 - 1.0) * scale + 1.0) as usize;
            input = resize_bilinear(&input, (side(height).max(1), side(width).max(1)), align_corners)?;
        }
        if mirrored {
            input = mirror(&input)?;
        }
        let mut logits = self.model.logits(&input)?;
        if scale < 1.0 {
            // TensorFlow resizes small logits to the unscaled head's size first, which is not the same as resizing
            // once.
            let graph = self.model.graph();
            let head = graph.sizes(height, width)?[graph.tap(LOGITS)?.index()];
            logits = resize_bilinear(&logits, (head.height, head.width), align_corners)?;
        }
        if mirrored {
            logits = mirror(&logits)?;
        }
        let logits = resize_bilinear(&logits, (height, width), align_corners)?;
        Ok(candle_nn::ops::softmax(&logits, 1)?)
    }

    /// The mean probabilities `[N, classes, H, W]` over all scales and flips.
    pub(super) fn probabilities(&self, pixels: &Tensor) -> Result<Tensor> {
        let sides = if self.flip { &[false, true][..] } else { &[false] };
        let mut sum: Option<Tensor> = None;
        for &scale in &self.scales {
            for &mirrored in sides {
                let look = self.look(pixels, scale, mirrored)?;
                sum = Some(match sum {
                    Some(sum) => (sum + look)?,
                    None => look,
                });
            }
        }
        let sum = sum.ok_or_else(|| Error::Scales { scales: self.scales.clone() })?;
        Ok((sum / (self.scales.len() * sides.len()) as f64)?)
    }
}

impl Module for MultiScale {
    fn forward(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        self.probabilities(pixels).map_err(Error::into_candle)
    }
}

/// `x` `[N, C, H, W]` with left and right exchanged.
fn mirror(x: &Tensor) -> candle_core::Result<Tensor> {
    x.flip(&[3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn mirroring_exchanges_left_and_right() {
        let x = Tensor::from_slice(&[1f32, 2., 3., 4.], (1, 1, 2, 2), &Device::Cpu).unwrap();
        assert_eq!(mirror(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(), [2., 1., 4., 3.]);
    }
}
