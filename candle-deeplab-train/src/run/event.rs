//! What a run tells while it goes.

use std::path::PathBuf;

use crate::start::Origin;

/// What a run tells while it goes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The run begins, or goes on.
    Started {
        /// Where the parameters come from; `None` where they come from a checkpoint.
        origin: Option<Origin>,
        /// Steps that are done.
        step: usize,
        /// The step at which it will stop.
        stop: usize,
        /// Images of the training split.
        images: usize,
        /// Classes.
        classes: usize,
        /// Parameters that are trained, and all numbers in them.
        parameters: usize,
    },
    /// A step is done.
    Step(Progress),
    /// The network was validated.
    Validated {
        /// Steps that are done.
        step: usize,
        /// Its mean IoU, from 0 to 1.
        miou: f64,
        /// Whether it is the best so far, and was written as the run's model.
        best: bool,
    },
    /// A checkpoint was written.
    Saved {
        /// Steps that are done.
        step: usize,
        /// The file.
        path: PathBuf,
    },
    /// Something that the user should know.
    Note(String),
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps that are done.
    pub step: usize,
    /// The step at which the run will stop.
    pub stop: usize,
    /// The loss of this step's batch.
    pub loss: f64,
    /// The share of its judged pixels that the network labels right.
    pub accuracy: f64,
    /// The learning rate.
    pub rate: f64,
    /// The global norm of the gradients.
    pub gradient_norm: f64,
    /// Images per second, over the last steps.
    pub images_per_second: f64,
    /// Seconds until the end, at this speed.
    pub seconds_left: f64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// Steps that are done.
    pub step: usize,
    /// The step of the best validation, and its mIoU.
    pub best: Option<(usize, f64)>,
    /// Samples that could not be read and were skipped.
    pub skipped: usize,
    /// Seconds of training, of all parts of the run.
    pub seconds: f64,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has done its steps.
    Done,
    /// It was told to stop, and can be resumed.
    Stopped,
    /// The mIoU had not grown for `validate.patience` validations.
    NoLongerBetter,
}
