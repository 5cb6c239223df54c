//! Batches, read and augmented ahead of the compute by threads of their own.
//!
//! Batch `k` depends on nothing but the recipe, the seed, the files and `k`. Epochs are random orders of the samples, one
//! after another; a batch may reach into the next epoch, so that all batches are full.

mod queue;
mod sampler;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::Tensor;
use candle_deeplab::config::Preprocessing;
use serde::{Deserialize, Serialize};

use crate::augment;
use crate::data::Dataset;
use crate::error::{Error, Result};
use queue::Queue;
pub use sampler::{Drawn, Sampler, Skipped};

/// The most samples in a batch.
const MAX_BATCH: usize = 1 << 12;
/// The most threads, and the most batches ahead.
const MAX_THREADS: usize = 256;
/// The most bytes of pixels ahead.
const MAX_BYTES: u128 = 1 << 36;

/// How batches are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Samples in a batch.
    pub batch: usize,
    /// Threads that read and augment. They do not change what is read.
    pub threads: usize,
    /// Batches that may be ready or in work before they are asked for; they bound the memory.
    pub ahead: usize,
    /// What to do about files that are damaged.
    pub on_error: OnError,
}

impl Default for Recipe {
    /// The paper's batch of 16.
    fn default() -> Self {
        Self { batch: 16, threads: 2, ahead: 4, on_error: OnError::default() }
    }
}

/// What to do about a sample whose files cannot be read or decoded. Faults of the data set as such, for instance ids that
/// are no class, are always errors: skipping would hide that it is misunderstood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Take the next sample of the epoch in its place, and say so in [`Batch::skipped`].
    #[default]
    Skip,
    /// Stop.
    Fail,
}

/// Some samples, as the network takes them.
#[derive(Debug)]
pub struct Batch {
    /// The batch's number, from 0 at the beginning of the training.
    pub number: u64,
    /// f32 `[N, 3, H, W]` on the CPU: red, green, blue; preprocessed.
    pub pixels: Tensor,
    /// u8 `[N, H, W]` on the CPU: the class of each pixel, or [`IGNORE`](crate::data::IGNORE).
    pub labels: Tensor,
    /// The samples' numbers in the data set.
    pub samples: Vec<usize>,
    /// The samples that could not be read, for which others were taken.
    pub skipped: Vec<Skipped>,
}

/// An endless iterator over the batches of a training. Dropping it ends its threads.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use candle_deeplab_train::data::{Dataset, Source};
/// use candle_deeplab_train::{augment, loader};
///
/// # fn main() -> candle_deeplab_train::Result<()> {
/// let dataset = Arc::new(Dataset::open(&Source::new("camvid"), "train")?);
/// let preprocessing = candle_deeplab::Config::from_file("model/config.json".as_ref())?.preprocessing;
/// let augment = augment::Recipe { crop: [360, 480], ..Default::default() };
/// let (seed, first) = (1, 0);
/// for batch in loader::Loader::new(dataset, &augment, &preprocessing, &Default::default(), seed, first)?.take(100) {
///     println!("{:?}", batch?.pixels.dims());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Loader {
    queue: Queue,
    batches_per_epoch: f64,
}

impl Loader {
    /// Starts to read batches, from number `first` on.
    ///
    /// # Errors
    /// [`Error::Recipe`] for settings that are out of range, [`Error::Data`] for a data set without samples.
    pub fn new(
        dataset: Arc<Dataset>,
        augment: &augment::Recipe,
        preprocessing: &Preprocessing,
        recipe: &Recipe,
        seed: u64,
        first: u64,
    ) -> Result<Self> {
        let sampler = Sampler::new(dataset, augment, preprocessing, recipe, seed)?;
        let batches_per_epoch = sampler.dataset().len() as f64 / recipe.batch as f64;
        Ok(Self { queue: Queue::start(sampler, recipe, first)?, batches_per_epoch })
    }

    /// How many batches an epoch takes.
    pub fn batches_per_epoch(&self) -> f64 {
        self.batches_per_epoch
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    /// The next batch. After an error the one after it follows.
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.queue.next())
    }
}

impl Recipe {
    /// Checks that the numbers are possible.
    ///
    /// # Errors
    /// [`Error::Recipe`], which names the setting.
    pub fn validate(&self, crop: [usize; 2]) -> Result<()> {
        let wrong = |setting: &str, reason: String| Err(Error::recipe(&format!("loader.{setting}"), reason));
        if !(1..=MAX_BATCH).contains(&self.batch) {
            return wrong("batch", format!("{} must be from 1 to {MAX_BATCH} samples", self.batch));
        }
        for (setting, count) in [("threads", self.threads), ("ahead", self.ahead)] {
            if !(1..=MAX_THREADS).contains(&count) {
                return wrong(setting, format!("{count} must be from 1 to {MAX_THREADS}"));
            }
        }
        let bytes = [self.batch, self.ahead, crop[0], crop[1], 13].iter().map(|n| *n as u128).product::<u128>();
        if bytes > MAX_BYTES {
            let gib = bytes >> 30;
            return wrong(
                "ahead",
                format!("the batches ahead would take {gib} GiB: lower `ahead`, `batch` or the crop"),
            );
        }
        Ok(())
    }
}
