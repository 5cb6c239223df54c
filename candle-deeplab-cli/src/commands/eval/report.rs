//! What `candle-deeplab eval` prints.

use std::io::{self, Write};

use candle_deeplab_train::eval;
use serde::Serialize;

use crate::commands::table;
use crate::output::Report;

/// The scores of an evaluation.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Scores {
    report: eval::Report,
    /// The pictures of the worst images.
    #[serde(skip)]
    pictures: Vec<String>,
}

impl Scores {
    pub(super) fn new(report: eval::Report, pictures: Vec<String>) -> Self {
        Self { report, pictures }
    }
}

impl Report for Scores {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        let row = |class: &eval::Class| {
            let share = class.pixels as f64 / report.pixels as f64;
            let scores = [class.iou, class.accuracy, class.precision, Some(share)].map(percent);
            [vec![class.name.clone()], scores.to_vec()].concat()
        };
        let rows: Vec<Vec<String>> = report.classes.iter().map(row).collect();
        table::write(to, &["class", "IoU", "accuracy", "precision", "% of pixels"], &rows)?;
        writeln!(to)?;
        let eval::Report { miou, pixel_accuracy, mean_accuracy, fw_iou, .. } = report;
        let (miou, pixel) = (percent(Some(*miou)), percent(Some(*pixel_accuracy)));
        let (mean, weighted) = (percent(Some(*mean_accuracy)), percent(Some(*fw_iou)));
        writeln!(
            to,
            "mIoU {miou} %, pixel accuracy {pixel} %, mean accuracy {mean} %, frequency-weighted IoU {weighted} %"
        )?;
        let absent: Vec<&str> =
            report.classes.iter().filter(|class| class.iou.is_none()).map(|class| class.name.as_str()).collect();
        if !absent.is_empty() {
            writeln!(to, "not labelled and not predicted, so left out of the mean: {}", absent.join(", "))?;
        }
        self.bands(to)?;
        for image in &report.worst {
            let (miou, accuracy) = (percent(Some(image.miou)), percent(Some(image.pixel_accuracy)));
            writeln!(to, "worst: {} (mIoU {miou} %, pixel accuracy {accuracy} %)", image.name)?;
        }
        self.pictures.iter().try_for_each(|path| writeln!(to, "wrote {path}"))?;
        if report.tiled > 0 {
            let tiled = report.tiled;
            writeln!(to, "{tiled} images were cut into tiles, since they would not have fit into memory")?;
        }
        let (images, seconds, model) = (report.images, report.seconds, &report.about.model);
        let rate = images as f64 / seconds.max(1e-9);
        writeln!(to, "{model} on {} images of `{}`: {seconds:.1} s, {rate:.1} images/s", images, report.about.split)
    }
}

impl Scores {
    /// A few of the bands along borders; the files have them all.
    fn bands(&self, to: &mut dyn Write) -> io::Result<()> {
        let bands = &self.report.trimap;
        let step = bands.len().div_ceil(8).max(1);
        // The narrowest and the widest are among them.
        let shown = bands.iter().rev().step_by(step).collect::<Vec<_>>().into_iter().rev();
        for band in shown {
            let (miou, accuracy) = (percent(band.miou), percent(band.pixel_accuracy));
            writeln!(to, "within {} pixels of a border: mIoU {miou} %, pixel accuracy {accuracy} %", band.width)?;
        }
        Ok(())
    }
}

/// Label maps that nobody here can judge.
#[derive(Debug, Serialize)]
pub(super) struct Submitted {
    pub(super) images: usize,
    pub(super) submission: String,
}

impl Report for Submitted {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "wrote the label maps of {} images into {}", self.images, self.submission)
    }
}

/// A share in percent, or a dash where there is none.
fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.2}", 100.0 * share))
}
