//! A network's scores for each class at each pixel.

use std::io::{self, Write};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use rayon::prelude::*;

use super::Answer;
use crate::error::{Error, Result};
use crate::npy;
use crate::pixels::{Geometry, Size};
use crate::upsample::{Logits, label_map, rows};

/// The network's scores for one image, from which the probability of each class at each of the image's pixels follows.
///
/// They are kept at the network's resolution: at the image's, they could take gigabytes.
#[derive(Debug, Clone)]
pub struct Scores {
    /// f32 `[classes, height, width]` on the CPU; the values of a row are contiguous.
    values: Tensor,
    answer: Answer,
    image: Size,
}

impl Scores {
    /// Crops a network's answer `[1, classes, H, W]` to the image's part of the input. From a GPU, only that part is
    /// copied; on the CPU, it is read in place.
    pub(super) fn new(values: &Tensor, answer: Answer, classes: usize, geometry: &Geometry) -> Result<Self> {
        let Geometry { input, valid, image } = *geometry;
        let expected = [1, classes, input.height, input.width];
        if values.dims() != expected {
            return Err(Error::Output { expected, actual: values.dims().to_vec() });
        }
        let values = values.squeeze(0)?.narrow(1, 0, valid.height)?.narrow(2, 0, valid.width)?;
        let mut values = values.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        if values.stride()[2] != 1 {
            values = values.contiguous()?;
        }
        let scores = Self { values, answer, image };
        if scores.read(|logits| logits.data.iter().any(|value| !value.is_finite()))? {
            return Err(Error::NotFinite);
        }
        Ok(scores)
    }

    /// Makes scores from the planes of all classes, which have the size `size`.
    pub(super) fn from_planes(
        values: Vec<f32>,
        answer: Answer,
        (classes, size): (usize, Size),
        image: Size,
    ) -> Result<Self> {
        let values = Tensor::from_vec(values, (classes, size.height, size.width), &Device::Cpu)?;
        Ok(Self { values, answer, image })
    }

    /// The network's scores for the image's part of its input, f32 `[classes, height, width]` on the CPU: at the
    /// network's resolution, or with [tiles](super::Tiles) at the image's.
    pub fn tensor(&self) -> &Tensor {
        &self.values
    }

    /// Whether [`tensor`](Self::tensor) holds logits or probabilities.
    pub fn answer(&self) -> Answer {
        self.answer
    }

    /// The probability of each class at each of the image's pixels, f32 `[classes, height, width]` on the CPU. For a
    /// large image that takes much memory; [`write_npy`](Self::write_npy) needs little.
    ///
    /// # Errors
    /// [`Error::Candle`] where candle fails.
    pub fn probabilities(&self) -> Result<Tensor> {
        let Size { height, width } = self.image;
        let by_pixel = self.probabilities_by_pixel()?;
        let by_pixel = Tensor::from_vec(by_pixel, (height, width, self.classes()), &Device::Cpu)?;
        Ok(by_pixel.permute((2, 0, 1))?.contiguous()?)
    }

    /// The same as the probabilities of all classes of one pixel after the other, `[height, width, classes]`.
    ///
    /// # Errors
    /// As [`probabilities`](Self::probabilities).
    pub fn probabilities_by_pixel(&self) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(self.classes() * self.image.area());
        let kept = self.each_probability(|_, block| {
            values.extend_from_slice(block);
            Ok(())
        });
        kept.map_err(candle_core::Error::wrap)?;
        Ok(values)
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.values.dims()[0]
    }

    /// Calls `with` with the values.
    pub(super) fn read<R>(&self, with: impl FnOnce(&Logits) -> R) -> Result<R> {
        let (storage, layout) = self.values.storage_and_layout();
        let Storage::Cpu(CpuStorage::F32(data)) = &*storage else {
            return Err(candle_core::Error::Msg("the scores are not f32 on the CPU".into()).into());
        };
        let &[classes, height, width] = layout.dims() else {
            return Err(candle_core::Error::Msg("the scores are not planes".into()).into());
        };
        Ok(with(&Logits {
            data: &data[layout.start_offset()..],
            classes,
            size: Size { height, width },
            class_stride: layout.stride()[0],
            row_stride: layout.stride()[1],
        }))
    }

    /// The class with the greatest score at each of the image's pixels. The first of equals wins.
    pub(super) fn label_map(&self) -> Result<Vec<u8>> {
        self.read(|logits| label_map(logits, self.image))
    }

    /// The size of the image.
    pub fn image(&self) -> Size {
        self.image
    }

    /// How likely one of `classes` is against the likeliest other class, at each pixel of an image of the size `to`:
    /// `p / (p + q)`, where `p` is the sum of their probabilities and `q` the greatest probability of another class.
    /// Where one of `classes` wins, it is at least a half.
    ///
    /// Log-odds are resized (bilinear, half-pixel), so that edges fall between the network's pixels where the logits
    /// put them.
    pub(crate) fn probability_of(&self, classes: &[u8], to: Size) -> Result<Vec<f32>> {
        /// Log-odds beyond this are as good as certain.
        const CERTAIN: f32 = 20.0;
        let wanted: Vec<bool> =
            (0..self.classes()).map(|class| classes.iter().any(|c| usize::from(*c) == class)).collect();
        self.read(|logits| {
            let width = logits.size.width;
            let mut odds = vec![0.0; logits.size.area()];
            odds.par_chunks_exact_mut(width).enumerate().for_each(|(y, odds)| {
                // For each pixel: the greatest score among `classes`, the greatest among the others, and in `odds` the
                // sum of exp(score − greatest) over `classes`.
                let (mut most, mut other) = (vec![f32::NEG_INFINITY; width], vec![f32::NEG_INFINITY; width]);
                let row = |class: usize| &logits.data[class * logits.class_stride + y * logits.row_stride..][..width];
                let score = |value: f32| if self.answer == Answer::Logits { value } else { value.ln() };
                for (class, &wanted) in wanted.iter().enumerate() {
                    let side = if wanted { &mut most } else { &mut other };
                    side.iter_mut().zip(row(class)).for_each(|(most, value)| *most = most.max(score(*value)));
                }
                for class in (0..wanted.len()).filter(|class| wanted[*class]) {
                    for (x, value) in row(class).iter().enumerate() {
                        odds[x] += (score(*value) - most[x]).exp();
                    }
                }
                for ((odds, most), other) in odds.iter_mut().zip(most).zip(other) {
                    let value = most + odds.ln() - other;
                    *odds = if value.is_nan() { -CERTAIN } else { value.clamp(-CERTAIN, CERTAIN) };
                }
            });
            let plane = Logits { data: &odds, classes: 1, class_stride: 0, row_stride: width, ..*logits };
            let mut values = rows(&plane, to, 0..to.height);
            values.par_iter_mut().for_each(|value| *value = 1.0 / (1.0 + (-*value).exp()));
            values
        })
    }

    /// Writes the probabilities at the image's size as a numpy array: f32 `[height, width, classes]`, so that
    /// `probabilities.argmax(-1)` is the label map, to rounding. Rows are computed as they are written.
    ///
    /// Logits are resized (bilinear, half-pixel) and then go through the softmax; probabilities are resized.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_npy(&self, mut to: impl Write) -> io::Result<()> {
        let Size { height, width } = self.image;
        npy::write_header(&mut to, "<f4", &[height, width, self.classes()])?;
        self.each_probability(|_, block| {
            let bytes: Vec<u8> = block.iter().flat_map(|value| value.to_le_bytes()).collect();
            to.write_all(&bytes)
        })
    }

    /// The mean probability of each class over the pixels that a label map of the image's size assigns to it; NaN where
    /// there are none.
    ///
    /// # Errors
    /// As [`probabilities`](Self::probabilities).
    pub fn mean_probabilities(&self, ids: &[u8]) -> io::Result<Vec<f64>> {
        let (classes, width) = (self.classes(), self.image.width);
        let mut sums = vec![(0.0f64, 0u64); classes];
        self.each_probability(|from, block| {
            for (id, pixel) in ids.iter().skip(from * width).zip(block.chunks_exact(classes)) {
                // Ignored pixels have no class and thus no probability.
                if let (Some((sum, count)), Some(probability)) =
                    (sums.get_mut(usize::from(*id)), pixel.get(usize::from(*id)))
                {
                    *sum += f64::from(*probability);
                    *count += 1;
                }
            }
            Ok(())
        })?;
        Ok(sums.into_iter().map(|(sum, count)| sum / count as f64).collect())
    }

    /// Calls `with` for block after block of rows, with the number of a block's first row and its probabilities
    /// `[rows, width, classes]`.
    pub(crate) fn each_probability(&self, mut with: impl FnMut(usize, &[f32]) -> io::Result<()>) -> io::Result<()> {
        /// Rows of a block.
        const BLOCK: usize = 32;
        let height = self.image.height;
        let each = |logits: &Logits| {
            for from in (0..height).step_by(BLOCK) {
                let mut block = rows(logits, self.image, from..(from + BLOCK).min(height));
                if self.answer == Answer::Logits {
                    block.par_chunks_exact_mut(self.classes()).for_each(softmax);
                }
                with(from, &block)?;
            }
            Ok(())
        };
        self.read(each).map_err(io::Error::other)?
    }
}

fn softmax(values: &mut [f32]) {
    let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|value| *value = (*value - greatest).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(scores: &Scores) -> Vec<f32> {
        let mut bytes = vec![];
        scores.write_npy(&mut bytes).unwrap();
        let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        bytes[header..].chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect()
    }

    fn scores(values: &[f32], answer: Answer, from: (usize, usize, usize), to: Size) -> Scores {
        let values = Tensor::from_slice(values, (1, from.0, from.1, from.2), &Device::Cpu).unwrap();
        let size = Size::new(from.1, from.2);
        Scores::new(&values, answer, from.0, &Geometry { image: to, valid: size, input: size }).unwrap()
    }

    #[test]
    fn logits_become_probabilities_and_probabilities_stay() {
        let to = Size::new(1, 2);
        let logits = scores(&[0.0, 0.0, 3f32.ln(), -1e30], Answer::Logits, (2, 1, 2), to);
        assert!(written(&logits).iter().zip([0.25, 0.75, 1.0, 0.0]).all(|(a, b)| (a - b).abs() < 1e-6));
        let probabilities = scores(&[0.25, 1.0, 0.75, 0.0], Answer::Probabilities, (2, 1, 2), to);
        assert_eq!(written(&probabilities), [0.25, 0.75, 1.0, 0.0]);
    }

    /// Halfway positions at twice the width, half-pixel; and more rows than a block has.
    #[test]
    fn probabilities_have_the_images_size() {
        let wide = scores(&[0.0, 1.0, 1.0, 0.0], Answer::Probabilities, (2, 1, 2), Size::new(1, 4));
        assert_eq!(written(&wide), [0.0, 1.0, 0.25, 0.75, 0.75, 0.25, 1.0, 0.0]);
        let high = scores(&[0.0, 1.0, 2.0, 1.0, 0.0, 0.5], Answer::Logits, (3, 2, 1), Size::new(101, 3));
        let values = written(&high);
        assert_eq!(values.len(), 101 * 3 * 3);
        let winners: Vec<u8> = values
            .chunks_exact(3)
            .map(|p| {
                assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                (0..3).rev().max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap() as u8
            })
            .collect();
        assert_eq!(winners, high.label_map().unwrap());
    }

    #[test]
    fn means_are_over_the_pixels_of_a_class() {
        let values = [0.9, 0.5, 0.2, 0.1, 0.5, 0.8];
        let scores = scores(&values, Answer::Probabilities, (2, 3, 1), Size::new(3, 1));
        let means = scores.mean_probabilities(&[0, 0, 1]).unwrap();
        assert!((means[0] - 0.7).abs() < 1e-6 && (means[1] - 0.8).abs() < 1e-6, "{means:?}");
        let some = scores.mean_probabilities(&[255, 1, 1]).unwrap();
        assert!(some[0].is_nan() && (some[1] - 0.65).abs() < 1e-6, "{some:?}");
    }
}
