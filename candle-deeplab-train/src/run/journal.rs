//! What a run leaves behind beside its model: a log of JSON lines, TensorBoard's events, and curves.

use std::io::Write;
use std::path::{Path, PathBuf};

use candle_deeplab::atomic;
use candle_deeplab::{LabelMap, Segmenter};
use serde::Serialize;

use super::event::Progress;
use crate::data::{Dataset, Pair};
use crate::error::Result;
use crate::eval::{self, Report};
use crate::log::curves;
use crate::log::jsonl::JsonLines;
use crate::log::tensorboard::EventWriter;

/// The log's file in a run's folder.
pub const LOG_FILE: &str = "log.jsonl";
/// The picture of the run's curves.
pub const CURVES_FILE: &str = "curves.svg";

/// The logs of a run.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    lines: JsonLines,
    events: EventWriter,
}

/// A line for a step.
#[derive(Serialize)]
struct StepLine {
    step: usize,
    loss: f64,
    accuracy: f64,
    rate: f64,
    gradient_norm: f64,
    images_per_second: f64,
}

/// A line for a validation.
#[derive(Serialize)]
struct ValidationLine<'a> {
    step: usize,
    miou: f64,
    pixel_accuracy: f64,
    mean_accuracy: f64,
    iou: Vec<(&'a str, Option<f64>)>,
}

impl Journal {
    /// Opens the logs of a run that goes on after `step`: what an earlier part of the run wrote about later steps is cut.
    pub(super) fn open(folder: &Path, step: usize) -> Result<Self> {
        let events = if step == 0 { EventWriter::create(folder)? } else { EventWriter::resume(folder, step + 1)? };
        Ok(Self { folder: folder.to_owned(), lines: JsonLines::open(folder.join(LOG_FILE), step)?, events })
    }

    pub(super) fn step(&mut self, progress: &Progress) -> Result<()> {
        let Progress { step, loss, accuracy, rate, gradient_norm, images_per_second, .. } = *progress;
        self.lines.append(&StepLine { step, loss, accuracy, rate, gradient_norm, images_per_second })?;
        for (tag, value) in [
            ("train/loss", loss),
            ("train/accuracy", accuracy),
            ("train/rate", rate),
            ("train/gradient_norm", gradient_norm),
            ("train/images_per_second", images_per_second),
        ] {
            self.events.scalar(tag, step, value)?;
        }
        Ok(())
    }

    pub(super) fn validation(&mut self, step: usize, report: &Report) -> Result<()> {
        let Report { miou, pixel_accuracy, mean_accuracy, classes, .. } = report;
        let (miou, pixel_accuracy, mean_accuracy) = (*miou, *pixel_accuracy, *mean_accuracy);
        let iou: Vec<_> = classes.iter().map(|class| (class.name.as_str(), class.iou)).collect();
        for (name, iou) in &iou {
            if let Some(iou) = iou {
                self.events.scalar(&format!("iou/{name}"), step, *iou)?;
            }
        }
        self.lines.append(&ValidationLine { step, miou, pixel_accuracy, mean_accuracy, iou })?;
        self.events.scalar("validation/miou", step, miou)?;
        self.events.scalar("validation/pixel_accuracy", step, pixel_accuracy)?;
        self.events.scalar("validation/mean_accuracy", step, mean_accuracy)?;
        self.draw()
    }

    /// Keeps a picture of an image, its labels, the network's answer, and where they differ.
    pub(super) fn picture(&mut self, step: usize, data: &Dataset, index: usize, segmenter: &Segmenter) -> Result<()> {
        let Pair { image, labels } = data.read(index)?;
        let found = segmenter.segment(&image.clone().into())?;
        let map: &LabelMap = found.label_map();
        let picture = eval::mistakes(&image, &labels, map.ids(), &data.labels)?;
        self.events.image(&format!("validation/{}", data.name(index)), step, &picture)
    }

    /// Draws the curves of the run so far.
    pub(super) fn draw(&self) -> Result<()> {
        let name = self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let svg = curves::svg(&[curves::Run::read(name, self.folder.join(LOG_FILE))?])?;
        Ok(atomic::write(self.folder.join(CURVES_FILE), |file| file.write_all(svg.as_bytes()))?)
    }
}
