//! The label maps of a batch, checked.

use candle_core::{DType, Tensor};

pub(super) use crate::data::IGNORE;
use crate::error::{Error, Result};

/// The label maps of a batch. Every label is a class or [`IGNORE`].
pub(super) struct LabelMaps {
    /// `[N, H, W]`, flat.
    pub(super) ids: Vec<u8>,
    pub(super) images: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// The number of pixels of each class.
    pub(super) counts: Vec<usize>,
}

impl LabelMaps {
    /// Reads u8 labels `[N, H, W]` for logits `[N, C, h, w]`.
    pub(super) fn new(labels: &Tensor, logits: &Tensor, classes: usize) -> Result<Self> {
        let (images, height, width) = labels.dims3()?;
        let (of, channels, h, w) = logits.dims4()?;
        let fit = of == images && channels == classes && ![h, w, height, width].contains(&0);
        if !fit || labels.dtype() != DType::U8 || u32::try_from(labels.elem_count()).is_err() {
            let reason = format!(
                "logits {:?} and {:?} labels {:?} do not fit each other and {classes} classes: they are [N, {classes}, h, w] \
                 and U8 [N, H, W], with less than 2^32 pixels",
                logits.dims(),
                labels.dtype(),
                labels.dims()
            );
            return Err(candle_core::Error::Msg(reason).into());
        }
        let ids: Vec<u8> = labels.flatten_all()?.to_vec1()?;
        let mut of_value = [0_usize; 256];
        ids.iter().for_each(|&id| of_value[usize::from(id)] += 1);
        if let Some(stranger) = (classes..usize::from(IGNORE)).find(|&id| of_value[id] > 0) {
            let pixel = ids.iter().position(|&id| usize::from(id) == stranger).unwrap_or(0);
            return Err(Error::Label { id: stranger, classes, image: pixel / (height * width) });
        }
        // Of 256 classes, the last is never labelled.
        of_value[usize::from(IGNORE)] = 0;
        let counts = (0..classes).map(|class| of_value.get(class).copied().unwrap_or(0)).collect();
        Ok(Self { ids, images, height, width, counts })
    }

    /// How many pixels are judged.
    pub(super) fn judged(&self) -> usize {
        self.counts.iter().sum()
    }

    /// How many classes have a pixel.
    pub(super) fn present(&self) -> usize {
        self.counts.iter().filter(|&&count| count > 0).count()
    }

    /// The sum of a weight over the judged pixels.
    pub(super) fn weigh(&self, weights: &[f32]) -> f64 {
        self.counts.iter().zip(weights).map(|(&count, &weight)| count as f64 * f64::from(weight)).sum()
    }
}
