//! How fast a run goes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Steps over which the speed is taken.
const STEPS: usize = 20;

/// The times of the last steps. Validation and checkpoints do not count.
#[derive(Debug, Default)]
pub(super) struct Speed {
    steps: VecDeque<Duration>,
    total: Duration,
}

impl Speed {
    /// Counts a step that began at `start`.
    pub(super) fn step(&mut self, start: Instant) {
        let time = start.elapsed();
        self.total += time;
        if self.steps.len() == STEPS {
            self.steps.pop_front();
        }
        self.steps.push_back(time);
    }

    /// Seconds per step.
    pub(super) fn seconds_per_step(&self) -> f64 {
        self.steps.iter().sum::<Duration>().as_secs_f64() / self.steps.len().max(1) as f64
    }

    /// The time of all steps.
    pub(super) fn total(&self) -> Duration {
        self.total
    }
}
