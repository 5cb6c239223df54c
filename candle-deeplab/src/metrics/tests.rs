//! Compares scores with those of torchmetrics and mmsegmentation (`tests/golden/metrics/make_golden.py`).

use serde_json::Value;

use super::{Confusion, Trimap};
use crate::graph::Size;
use crate::segment::LabelMap;

const EXPECTED: &str = include_str!("../../tests/golden/metrics/expected.json");
const IGNORE: u8 = 255;

/// The generator's random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// The generator's label maps and predictions.
fn maps(case: &Value) -> Vec<(LabelMap, Vec<u8>)> {
    let number = |key: &str| case[key].as_u64().unwrap();
    let (height, width) = (number("height") as usize, number("width") as usize);
    let (labelled, predicted) = (number("labelled"), number("predicted"));
    let mut random = Random(number("seed"));
    let mut image = || {
        let columns = width.div_ceil(3);
        let block = |random: &mut Random| if random.below(8) == 0 { IGNORE } else { random.below(labelled) as u8 };
        let blocks: Vec<u8> = (0..columns * height.div_ceil(3)).map(|_| block(&mut random)).collect();
        let label = |index: usize| blocks[index / width / 3 * columns + index % width / 3];
        let labels: Vec<u8> = (0..height * width).map(label).collect();
        let predict = |label: &u8| {
            let right = random.below(3) > 0 && u64::from(*label) < predicted;
            if right { *label } else { random.below(predicted) as u8 }
        };
        let predictions = labels.iter().map(predict).collect();
        (LabelMap::new(labels, Size::new(height, width)).unwrap(), predictions)
    };
    (0..number("images")).map(|_| image()).collect()
}

/// Scores agree to f32, in which torchmetrics computes. A score that does not exist is null or 0.
fn assert_same(ours: Option<f64>, theirs: &Value, missing: &Value, what: &str) {
    match ours {
        Some(ours) => assert!((ours - theirs.as_f64().unwrap()).abs() < 1e-6, "{what}: {ours}, {theirs}"),
        None => assert_eq!(theirs, missing, "{what}"),
    }
}

#[test]
fn scores_are_those_of_torchmetrics_and_mmsegmentation() {
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let cases = expected["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let classes = case["classes"].as_u64().unwrap() as usize;
        let mut confusion = Confusion::new(classes).unwrap();
        for (labels, predictions) in maps(case) {
            confusion.add(labels.ids(), &predictions, Some(IGNORE)).unwrap();
        }
        let (torch, mmseg, zero) = (&case["torchmetrics"], &case["mmseg"], &Value::from(0.0));
        for (id, scores) in confusion.per_class().into_iter().enumerate() {
            for (ours, theirs) in
                [(scores.iou, "iou"), (scores.accuracy, "accuracy"), (scores.precision, "precision"), (scores.f1, "f1")]
            {
                assert_same(ours, &torch[theirs][id], zero, theirs);
                let theirs = if theirs == "f1" { "dice" } else { theirs };
                assert_same(ours, &mmseg[theirs][id], &Value::Null, theirs);
            }
        }
        for (ours, theirs) in [
            (confusion.miou(), "miou"),
            (confusion.mean_accuracy(), "mean_accuracy"),
            (confusion.mean_precision(), "mean_precision"),
            (confusion.mean_f1(), "mean_dice"),
            (confusion.pixel_accuracy(), "pixel_accuracy"),
            (confusion.frequency_weighted_iou(), "fw_iou"),
        ] {
            assert_same(ours, &mmseg[theirs], &Value::Null, theirs);
        }
        for (ours, theirs) in [
            (confusion.miou(), "miou"),
            (confusion.pixel_accuracy(), "pixel_accuracy"),
            (confusion.frequency_weighted_iou(), "fw_iou"),
        ] {
            assert_same(ours, &torch[theirs], zero, theirs);
        }
    }
}

#[test]
fn bands_are_those_of_brute_force() {
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    for case in expected["cases"].as_array().unwrap() {
        let theirs = case["trimap"].as_array().unwrap();
        let widths: Vec<u32> = theirs.iter().map(|band| band["width"].as_u64().unwrap() as u32).collect();
        let mut trimap = Trimap::new(case["classes"].as_u64().unwrap() as usize, &widths).unwrap();
        for (labels, predictions) in maps(case) {
            trimap.add(&labels, &predictions, Some(IGNORE)).unwrap();
        }
        for (ours, theirs) in trimap.bands().unwrap().iter().zip(theirs) {
            assert_same(ours.confusion.miou(), &theirs["miou"], &Value::Null, "trimap");
        }
    }
}
