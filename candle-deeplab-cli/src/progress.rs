//! How far a long run is: a bar on a terminal, and nothing where nobody is looking.

use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error while it is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// For `total` steps of `unit` (`None` where nobody knows how many), unless `hidden`.
    pub(crate) fn new(total: Option<u64>, unit: &str, hidden: bool) -> Result<Self> {
        // indicatif draws nothing by itself where standard error is no terminal.
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

    /// One step more.
    pub(crate) fn step(&self) {
        self.0.inc(1);
    }

    /// Prints without the bar in the way.
    pub(crate) fn around<R>(&self, print: impl FnOnce() -> R) -> R {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
