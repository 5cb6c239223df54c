//! Progress of a long run: a bar on a terminal, and nothing elsewhere.

use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar on standard error, if that is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar for `total` steps of `unit` (`None` if their number is unknown), unless `hidden`.
    pub(crate) fn new(total: Option<u64>, unit: &str, hidden: bool) -> Result<Self> {
        // indicatif draws nothing if standard error is not a terminal.
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match total {
            Some(_) => format!("{{bar:30}} {{pos}} of {{len}} {unit}  {{per_sec}}  {{eta}} left  {{msg}}"),
            None => format!("{{spinner}} {{pos}} {unit}  {{per_sec}}  {{msg}}"),
        };
        bar.set_style(ProgressStyle::with_template(&template).context("progress bar")?);
        bar.enable_steady_tick(Duration::from_millis(250));
        Ok(Self(bar))
    }

    /// A line of text that is replaced by the next, unless `hidden`.
    pub(crate) fn line(hidden: bool) -> Result<Self> {
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        bar.set_style(ProgressStyle::with_template("{bar:20} step {pos} of {len}  {msg}").context("progress bar")?);
        Ok(Self(bar))
    }

    /// Moves a [`line`](Self::line) to a place, and tells what is there.
    pub(crate) fn tell(&self, total: usize, done: usize, message: impl FnOnce() -> String) {
        self.0.set_length(total as u64);
        self.0.set_message(message());
        self.0.set_position(done as u64);
    }

    /// Advances by one step.
    pub(crate) fn step(&self) {
        self.0.inc(1);
    }

    /// Says how many steps are done, and of how many.
    pub(crate) fn at(&self, done: u64, of: u64) {
        self.0.set_length(of);
        self.0.set_position(done);
    }

    /// Hides the bar while `print` runs.
    pub(crate) fn around<R>(&self, print: impl FnOnce() -> R) -> R {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
