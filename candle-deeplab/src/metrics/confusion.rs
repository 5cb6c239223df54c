//! The confusion matrix.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::labels::MAX_CLASSES;

/// How often each class was predicted where another was right. Rows are the ground truth's classes, columns the
/// predicted ones.
///
/// ```
/// use candle_deeplab::metrics::Confusion;
///
/// let mut confusion = Confusion::new(3)?;
/// //                      ground truth     predicted
/// confusion.add(&[0, 0, 1, 1, 255], &[0, 1, 1, 1, 2], Some(255))?;
/// assert_eq!(confusion.pixel_accuracy(), Some(0.75));
/// // Half of class 0 is right, two thirds of class 1, and class 2 is nowhere.
/// assert_eq!(confusion.miou(), Some((1.0 / 2.0 + 2.0 / 3.0) / 2.0));
/// # Ok::<(), candle_deeplab::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Confusion {
    classes: usize,
    /// `[classes, classes]`: ground truth, prediction.
    counts: Vec<u64>,
    /// The sum of all counts, so that no sum of some of them can overflow.
    pixels: u64,
}

/// The scores of one class; `None` where the denominator is 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Pixels that are labelled as the class.
    pub labelled: u64,
    /// Pixels that are predicted as the class.
    pub predicted: u64,
    /// Pixels that are both.
    pub correct: u64,
    /// Intersection over union (Jaccard index).
    pub iou: Option<f64>,
    /// The share of the labelled pixels that are found: recall.
    pub accuracy: Option<f64>,
    /// The share of the predicted pixels that are right.
    pub precision: Option<f64>,
    /// The harmonic mean of accuracy and precision: Dice.
    pub f1: Option<f64>,
}

/// A matrix as it is serialized: the cells that are not 0, as ground truth, prediction and count.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    classes: usize,
    cells: Vec<(u8, u8, u64)>,
}

impl TryFrom<Parts> for Confusion {
    type Error = Error;

    fn try_from(Parts { classes, cells }: Parts) -> Result<Self> {
        let mut confusion = Self::new(classes)?;
        cells.into_iter().try_for_each(|(label, prediction, count)| confusion.count_cell(label, prediction, count))?;
        Ok(confusion)
    }
}

impl From<Confusion> for Parts {
    fn from(confusion: Confusion) -> Self {
        Self { classes: confusion.classes, cells: confusion.cells().collect() }
    }
}

impl Confusion {
    /// An empty matrix of 1 to [`MAX_CLASSES`] classes.
    ///
    /// # Errors
    /// [`Error::Metrics`] for another number of classes.
    pub fn new(classes: usize) -> Result<Self> {
        if !(1..=MAX_CLASSES).contains(&classes) {
            return Err(Error::Metrics(format!("{classes} classes: label maps are 8-bit and hold 1 to {MAX_CLASSES}")));
        }
        Ok(Self { classes, counts: vec![0; classes * classes], pixels: 0 })
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Counts the pixels of an image. Where the label is `ignore`, the prediction may be anything.
    ///
    /// # Errors
    /// [`Error::Metrics`], and nothing is counted, where there is not one prediction for each label, or one of them is
    /// none of the classes.
    pub fn add(&mut self, labels: &[u8], predictions: &[u8], ignore: Option<u8>) -> Result<()> {
        /// Counters of one block cannot overflow.
        const BLOCK: usize = 1 << 31;
        if labels.len() != predictions.len() {
            let (labels, predictions) = (labels.len(), predictions.len());
            return Err(Error::Metrics(format!("{predictions} predictions do not fit {labels} labels")));
        }
        let mut sums: Vec<(u8, u8, u64)> = vec![];
        for (labels, predictions) in labels.chunks(BLOCK).zip(predictions.chunks(BLOCK)) {
            let mut counts = vec![0u32; MAX_CLASSES * MAX_CLASSES];
            for (label, prediction) in labels.iter().zip(predictions) {
                counts[usize::from(*label) << 8 | usize::from(*prediction)] += 1;
            }
            for (row, label) in counts.chunks_exact(MAX_CLASSES).zip(0..=u8::MAX) {
                let cells = row.iter().zip(0..=u8::MAX).filter(|(count, _)| **count > 0 && ignore != Some(label));
                sums.extend(cells.map(|(count, prediction)| (label, prediction, u64::from(*count))));
            }
        }
        sums.iter().try_for_each(|(label, prediction, _)| self.check(*label, *prediction))?;
        let total = sums.iter().map(|(_, _, count)| count).sum();
        self.check_sum(total)?;
        sums.into_iter().try_for_each(|(label, prediction, count)| self.count_cell(label, prediction, count))
    }

    /// Adds the counts of another matrix.
    ///
    /// # Errors
    /// [`Error::Metrics`], and nothing is added, where it has another number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if other.classes != self.classes {
            let (ours, theirs) = (self.classes, other.classes);
            return Err(Error::Metrics(format!("counts of {theirs} classes cannot be added to those of {ours}")));
        }
        self.check_sum(other.pixels)?;
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        self.pixels += other.pixels;
        Ok(())
    }

    fn count_cell(&mut self, label: u8, prediction: u8, count: u64) -> Result<()> {
        self.check(label, prediction)?;
        self.check_sum(count)?;
        self.counts[usize::from(label) * self.classes + usize::from(prediction)] += count;
        self.pixels += count;
        Ok(())
    }

    fn check(&self, label: u8, prediction: u8) -> Result<()> {
        for (id, what) in [(label, "label"), (prediction, "predicted id")] {
            if usize::from(id) >= self.classes {
                return Err(Error::Metrics(format!("the {what} {id} is none of the {} classes", self.classes)));
            }
        }
        Ok(())
    }

    fn check_sum(&self, more: u64) -> Result<()> {
        let sum = self.pixels.checked_add(more).filter(|sum| *sum <= u64::MAX / 4);
        sum.map(|_| ()).ok_or_else(|| Error::Metrics("too many pixels to count".into()))
    }

    /// All pixels that were counted, i.e. all but the ignored ones.
    pub fn pixels(&self) -> u64 {
        self.pixels
    }

    /// The pixels of class `label` that are predicted as class `prediction`; 0 where there are no such classes.
    pub fn count(&self, label: usize, prediction: usize) -> u64 {
        let is_class = label < self.classes && prediction < self.classes;
        if is_class { self.counts[label * self.classes + prediction] } else { 0 }
    }

    /// The cells that are not 0: ground truth, prediction, count.
    pub fn cells(&self) -> impl Iterator<Item = (u8, u8, u64)> {
        let rows = self.counts.chunks_exact(self.classes).zip(0..=u8::MAX);
        let cells = rows.flat_map(|(row, label)| {
            row.iter().zip(0..=u8::MAX).map(move |(count, prediction)| (label, prediction, *count))
        });
        cells.filter(|(_, _, count)| *count > 0)
    }

    /// The scores of a class; all of them 0 or `None` where there is no such class.
    pub fn class(&self, class: usize) -> ClassScores {
        let labelled: u64 = (0..self.classes).map(|other| self.count(class, other)).sum();
        let predicted: u64 = (0..self.classes).map(|other| self.count(other, class)).sum();
        let correct = self.count(class, class);
        ClassScores {
            labelled,
            predicted,
            correct,
            iou: share(correct, labelled + predicted - correct),
            accuracy: share(correct, labelled),
            precision: share(correct, predicted),
            f1: share(2 * correct, labelled + predicted),
        }
    }

    /// The scores of all classes, in their order.
    pub fn per_class(&self) -> Vec<ClassScores> {
        (0..self.classes).map(|class| self.class(class)).collect()
    }

    /// The mean of the classes' IoUs. Absent classes are [left out](super); `None` where nothing was counted.
    pub fn miou(&self) -> Option<f64> {
        self.mean(|scores| scores.iou)
    }

    /// The mean of the classes' accuracies, over those that are in the ground truth.
    pub fn mean_accuracy(&self) -> Option<f64> {
        self.mean(|scores| scores.accuracy)
    }

    /// The mean of the classes' precisions, over those that are predicted.
    pub fn mean_precision(&self) -> Option<f64> {
        self.mean(|scores| scores.precision)
    }

    /// The mean of the classes' F1 scores. Absent classes are left out.
    pub fn mean_f1(&self) -> Option<f64> {
        self.mean(|scores| scores.f1)
    }

    /// The share of all pixels that are right.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        let correct = (0..self.classes).map(|class| self.count(class, class)).sum();
        share(correct, self.pixels)
    }

    /// The classes' IoUs, weighted by their pixels in the ground truth (Long et al. 2015, section 5: "f.w. IU").
    pub fn frequency_weighted_iou(&self) -> Option<f64> {
        let weighted = |scores: ClassScores| scores.iou.map_or(0.0, |iou| scores.labelled as f64 * iou);
        let sum: f64 = self.per_class().into_iter().map(weighted).sum();
        (self.pixels > 0).then(|| sum / self.pixels as f64)
    }

    fn mean(&self, score: impl Fn(&ClassScores) -> Option<f64>) -> Option<f64> {
        let scores: Vec<f64> = self.per_class().iter().filter_map(score).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }

    /// Writes the matrix as CSV (RFC 4180): a row for each class of the ground truth, a column for each predicted one,
    /// under and behind their names. A class without a name gets its id.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_csv(&self, names: &[String], mut to: impl Write) -> io::Result<()> {
        let name = |class: usize| names.get(class).map_or_else(|| class.to_string(), |name| quoted(name));
        let classes = || 0..self.classes;
        writeln!(to, "label \\ predicted,{}", classes().map(name).collect::<Vec<_>>().join(","))?;
        for label in classes() {
            let counts: Vec<String> = classes().map(|prediction| self.count(label, prediction).to_string()).collect();
            writeln!(to, "{},{}", name(label), counts.join(","))?;
        }
        Ok(())
    }
}

/// A share, unless the whole is nothing.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A field of a CSV file.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(labels: &[u8], predictions: &[u8]) -> Confusion {
        let mut confusion = Confusion::new(4).unwrap();
        confusion.add(labels, predictions, Some(255)).unwrap();
        confusion
    }

    /// Class 0: 2 of 3 found; class 1: 1 of 2, one predicted too much; class 2 only predicted; class 3 nowhere.
    fn example() -> Confusion {
        counted(&[0, 0, 0, 1, 1, 255, 255], &[0, 0, 1, 1, 2, 3, 200])
    }

    #[test]
    fn scores_are_those_of_a_matrix_counted_by_hand() {
        let confusion = example();
        assert_eq!(confusion.cells().collect::<Vec<_>>(), [(0, 0, 2), (0, 1, 1), (1, 1, 1), (1, 2, 1)]);
        let scores = confusion.per_class();
        assert_eq!(
            scores.iter().map(|s| (s.labelled, s.predicted, s.correct)).collect::<Vec<_>>(),
            [(3, 2, 2), (2, 2, 1), (0, 1, 0), (0, 0, 0)]
        );
        assert_eq!(
            scores.iter().map(|s| s.iou).collect::<Vec<_>>(),
            [Some(2.0 / 3.0), Some(1.0 / 3.0), Some(0.0), None]
        );
        assert_eq!(scores.iter().map(|s| s.accuracy).collect::<Vec<_>>(), [Some(2.0 / 3.0), Some(0.5), None, None]);
        assert_eq!(scores.iter().map(|s| s.precision).collect::<Vec<_>>(), [Some(1.0), Some(0.5), Some(0.0), None]);
        assert_eq!(scores.iter().map(|s| s.f1).collect::<Vec<_>>(), [Some(0.8), Some(0.5), Some(0.0), None]);
        // The absent class is left out, the one that is only predicted is not.
        assert_eq!(confusion.miou(), Some(1.0 / 3.0));
        assert_eq!(confusion.mean_accuracy(), Some((2.0 / 3.0 + 0.5) / 2.0));
        assert_eq!(confusion.mean_precision(), Some(0.5));
        assert!((confusion.mean_f1().unwrap() - 1.3 / 3.0).abs() < 1e-15);
        assert_eq!((confusion.pixels(), confusion.pixel_accuracy()), (5, Some(0.6)));
        assert_eq!(confusion.frequency_weighted_iou(), Some((3.0 * (2.0 / 3.0) + 2.0 * (1.0 / 3.0)) / 5.0));
    }

    #[test]
    fn nothing_counted_has_no_scores() {
        let none = counted(&[255, 255], &[0, 9]);
        assert_eq!((none.pixels(), none.miou(), none.pixel_accuracy()), (0, None, None));
        assert_eq!((none.mean_accuracy(), none.frequency_weighted_iou(), none.mean_f1()), (None, None, None));
    }

    #[test]
    fn images_add_up_in_any_order() {
        let (a, b) = (counted(&[0, 1, 2], &[0, 2, 2]), counted(&[3, 3], &[3, 0]));
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.merge(&b).unwrap();
        ba.merge(&a).unwrap();
        assert_eq!(ab, ba);
        assert_eq!(ab, counted(&[0, 1, 2, 3, 3], &[0, 2, 2, 3, 0]));
    }

    #[test]
    fn what_cannot_be_counted_is_refused_and_counts_nothing() {
        let mut confusion = example();
        for (labels, predictions, says) in [
            (&[0, 4][..], &[0, 0][..], "the label 4 is none of the 4 classes"),
            (&[0, 1], &[0, 4], "the predicted id 4 is none of the 4 classes"),
            (&[0, 0], &[0], "1 predictions do not fit 2 labels"),
        ] {
            let error = confusion.add(labels, predictions, Some(255)).unwrap_err().to_string();
            assert_eq!(error, says);
        }
        // Without an ignore value, every label counts.
        assert!(confusion.add(&[255], &[0], None).is_err());
        assert!(confusion.merge(&Confusion::new(3).unwrap()).is_err());
        assert_eq!(confusion, example());
        assert!(Confusion::new(0).is_err() && Confusion::new(257).is_err());
    }

    #[test]
    fn all_256_classes_can_be_counted() {
        let ids: Vec<u8> = (0..=255).collect();
        let mut confusion = Confusion::new(256).unwrap();
        confusion.add(&ids, &ids, None).unwrap();
        assert_eq!((confusion.miou(), confusion.pixels()), (Some(1.0), 256));
    }

    #[test]
    fn a_matrix_survives_json_and_a_wrong_one_is_refused() {
        let text = serde_json::to_string(&example()).unwrap();
        assert_eq!(text, r#"{"classes":4,"cells":[[0,0,2],[0,1,1],[1,1,1],[1,2,1]]}"#);
        assert_eq!(serde_json::from_str::<Confusion>(&text).unwrap(), example());
        for wrong in [
            r#"{"classes":4,"cells":[[4,0,1]]}"#,
            r#"{"classes":0,"cells":[]}"#,
            r#"{"classes":18446744073709551615,"cells":[]}"#,
            r#"{"classes":2,"cells":[[0,0,18446744073709551615],[0,1,18446744073709551615]]}"#,
        ] {
            assert!(serde_json::from_str::<Confusion>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn csv_has_names_that_may_hold_commas() {
        let mut csv = vec![];
        let names = ["sky", "fence, \"low\"", "car"].map(String::from);
        example().write_csv(&names, &mut csv).unwrap();
        assert_eq!(
            String::from_utf8(csv).unwrap(),
            "label \\ predicted,sky,\"fence, \"\"low\"\"\",car,3\nsky,2,1,0,0\n\"fence, \"\"low\"\"\",0,1,1,0\ncar,0,0,0,0\n3,0,0,0,0\n"
        );
    }
}
