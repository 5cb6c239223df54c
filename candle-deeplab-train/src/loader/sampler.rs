//! Which samples a batch has, and what they look like.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};
use candle_deeplab::config::Preprocessing;

use super::{Batch, OnError, Recipe};
use crate::augment::{self, Augment, Sample};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::random::{Purpose, numbered, permutation};

/// Makes samples and batches by their numbers.
#[derive(Debug)]
pub struct Sampler {
    dataset: Arc<Dataset>,
    augment: Augment,
    preprocessing: Preprocessing,
    batch: usize,
    on_error: OnError,
    seed: u64,
    /// The orders of the epochs in use, the latest last.
    orders: Mutex<Vec<(u64, Arc<[usize]>)>>,
}

/// A sample that could not be read. As text, it is its error, which names the file.
#[derive(Debug)]
pub struct Skipped {
    /// Its number in the data set.
    pub sample: usize,
    /// Why.
    pub error: Error,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// A sample of a batch.
#[derive(Debug)]
pub struct Drawn {
    /// Its number in the data set.
    pub index: usize,
    /// What the network sees of it.
    pub sample: Sample,
    /// Those that could not be read before it.
    pub skipped: Vec<Skipped>,
}

/// Batches that are in work at once are of two epochs, unless epochs are very short.
const ORDERS: usize = 4;

impl Sampler {
    /// Checks the recipes.
    ///
    /// # Errors
    /// [`Error::Recipe`] for settings that are out of range, [`Error::Data`] for a data set without samples.
    pub fn new(
        dataset: Arc<Dataset>,
        augment: &augment::Recipe,
        preprocessing: &Preprocessing,
        recipe: &Recipe,
        seed: u64,
    ) -> Result<Self> {
        recipe.validate(augment.crop)?;
        if dataset.is_empty() {
            return Err(Error::data(&dataset.source().dir, "it has no samples"));
        }
        let augment = Augment::new(augment, preprocessing)?;
        let (preprocessing, Recipe { batch, on_error, .. }) = (preprocessing.clone(), *recipe);
        Ok(Self { dataset, augment, preprocessing, batch, on_error, seed, orders: Mutex::default() })
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Reads and augments the sample at a place in a batch. With [`OnError::Skip`], those that follow it in the epoch
    /// stand in for it, where it cannot be read.
    ///
    /// # Errors
    /// Those of [`Dataset::read`]; [`Error::Data`] where none can be read.
    pub fn sample(&self, batch: u64, place: usize) -> Result<Drawn> {
        let position = batch.wrapping_mul(self.batch as u64).wrapping_add(place as u64);
        let mut skipped = vec![];
        for next in 0..self.dataset.len() as u64 {
            let index = self.at(position.wrapping_add(next));
            match self.dataset.read(index) {
                Ok(pair) => {
                    let sample = self.augment.apply(&pair, self.seed, batch, place);
                    return Ok(Drawn { index, sample, skipped });
                }
                Err(error) if self.on_error == OnError::Skip && error.is_about_one_file() => {
                    skipped.push(Skipped { sample: index, error });
                }
                Err(error) => return Err(error),
            }
        }
        let first = skipped.first().map(|skipped| skipped.error.to_string()).unwrap_or_default();
        let reason = format!("none of {} samples in a row can be read; the first: {first}", skipped.len());
        Err(Error::data(&self.dataset.source().dir, reason))
    }

    /// The sample at a position of all epochs, one after another.
    fn at(&self, position: u64) -> usize {
        let len = self.dataset.len() as u64;
        self.order(position / len)[(position % len) as usize]
    }

    /// The order of an epoch's samples.
    fn order(&self, epoch: u64) -> Arc<[usize]> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = orders.iter().find(|(known, _)| *known == epoch) {
            return order.clone();
        }
        let mut random = numbered(self.seed, Purpose::Order, [epoch, 0]);
        let order: Arc<[usize]> = permutation(self.dataset.len(), &mut random).into();
        if orders.len() >= ORDERS {
            orders.remove(0);
        }
        orders.push((epoch, order.clone()));
        order
    }

    /// Makes a batch; `None` where `goes_on` says no between samples.
    ///
    /// # Errors
    /// Those of [`Sampler::sample`].
    pub(super) fn batch(&self, number: u64, goes_on: impl Fn() -> bool) -> Option<Result<Batch>> {
        let size = self.augment.size();
        let area = size.area();
        let (mut pixels, mut labels) = (vec![0f32; 3 * area * self.batch], vec![0u8; area * self.batch]);
        let (mut samples, mut skipped) = (vec![], vec![]);
        for (place, (pixels, labels)) in
            pixels.chunks_exact_mut(3 * area).zip(labels.chunks_exact_mut(area)).enumerate()
        {
            if !goes_on() {
                return None;
            }
            let drawn = match self.sample(number, place) {
                Ok(drawn) => drawn,
                Err(error) => return Some(Err(error)),
            };
            normalize(&self.preprocessing, &drawn.sample, pixels);
            labels.copy_from_slice(&drawn.sample.labels);
            samples.push(drawn.index);
            skipped.extend(drawn.skipped);
        }
        let tensors = || {
            let pixels = Tensor::from_vec(pixels, (self.batch, 3, size.height, size.width), &Device::Cpu)?;
            Ok((pixels, Tensor::from_vec(labels, (self.batch, size.height, size.width), &Device::Cpu)?))
        };
        Some(tensors().map(|(pixels, labels)| Batch { number, pixels, labels, samples, skipped }))
    }
}

/// Writes the normalised channels of a sample, one after another: [`Preprocessing::prepare`] in this thread alone.
fn normalize(preprocessing: &Preprocessing, sample: &Sample, to: &mut [f32]) {
    let Preprocessing { mean, std, pad_value, .. } = preprocessing;
    let (width, height) = (sample.image.width() as usize, sample.image.height() as usize);
    for (channel, plane) in to.chunks_exact_mut(width * height).enumerate() {
        let (mean, std) = (mean[channel], std[channel]);
        let table: [f32; 256] = std::array::from_fn(|value| (value as f32 - mean) / std);
        let padding = (pad_value[channel] - mean) / std;
        let rows = plane.chunks_exact_mut(width).zip(sample.image.chunks_exact(3 * width));
        for (y, (to, from)) in rows.enumerate() {
            let valid = if y < sample.valid.height { sample.valid.width } else { 0 };
            let (inside, outside) = to.split_at_mut(valid);
            for (value, pixel) in inside.iter_mut().zip(from.as_chunks::<3>().0) {
                *value = table[usize::from(pixel[channel])];
            }
            outside.fill(padding);
        }
    }
}
