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

    /// Advances by one step.
    pub(crate) fn step(&self) {
        self.0.inc(1);
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
