//! Evaluations of small generated sets.

use std::path::Path;

use candle_core::{Device, IndexOp, Tensor};
use candle_deeplab::config::{Filter, Preprocessing, SizeRule};
use candle_deeplab::{Labels, Segmenter};
use image::{GrayImage, Luma, Rgb, RgbImage};

use super::*;
use crate::data::{IGNORE, Pair};
use crate::error::Result;

/// A network whose class is the strongest colour: red 0, green 1, blue 2.
pub(super) fn by_color() -> Segmenter {
    let network = |pixels: &Tensor| pixels.affine(1.0, 0.0);
    Segmenter::from_parts(network, preprocessing(), Labels::numbered(3), Device::Cpu)
}

fn preprocessing() -> Preprocessing {
    let size = SizeRule::Native { height: 1, width: 1 };
    Preprocessing { mean: [0.0; 3], std: [255.0; 3], pad_value: [0.0; 3], size, filter: Filter::Bilinear }
}

/// Images whose colours are given as classes, with their labels, row by row.
pub(super) struct Few {
    pub(super) labels: Labels,
    pub(super) width: u32,
    pub(super) pairs: Vec<(&'static str, Vec<u8>, Vec<u8>)>,
}

impl Few {
    /// Two images of 4×1 pixels. Classes 0 and 1 are in the labels, and class 2 is only predicted.
    pub(super) fn two() -> Self {
        let pairs = vec![("a", vec![0, 0, 1, 2], vec![0, 0, 1, 1]), ("b/c", vec![0, 1, 1, 1], vec![0, 0, IGNORE, 1])];
        Self { labels: Labels::numbered(3), width: 4, pairs }
    }
}

impl Pairs for Few {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn name(&self, index: usize) -> &str {
        self.pairs[index].0
    }

    fn read(&self, index: usize) -> Result<Pair> {
        let (_, colors, labels) = &self.pairs[index];
        let at = |x: u32, y: u32| (y * self.width + x) as usize;
        let height = labels.len() as u32 / self.width;
        let color = |class: u8| std::array::from_fn(|channel| if channel == usize::from(class) { 255 } else { 0 });
        let image = RgbImage::from_fn(self.width, height, |x, y| Rgb(color(colors[at(x, y)])));
        Ok(Pair { image, labels: GrayImage::from_fn(self.width, height, |x, y| Luma([labels[at(x, y)]])) })
    }

    fn read_prediction(&self, path: &Path) -> Result<GrayImage> {
        Ok(candle_deeplab::pixels::open(path)?.into_luma8())
    }
}

#[test]
fn scores_are_those_counted_by_hand() {
    let (few, segmenter) = (Few::two(), by_color());
    let options = Options { trimap: vec![1, 9], worst: 5, ..Options::default() };
    let mut steps = vec![];
    let found = evaluate(Judged::Network(&segmenter), &few, &options, |done, of| steps.push((done, of))).unwrap();
    assert_eq!(steps, [(1, 2), (2, 2)]);
    // Ground truth 0: 4 pixels, of which 3 are 0 and 1 is 1; 1: 3 pixels, of which 2 are 1 and 1 is 2.
    let report = found.report;
    assert_eq!(found.confusion.cells().collect::<Vec<_>>(), [(0, 0, 3), (0, 1, 1), (1, 1, 2), (1, 2, 1)]);
    assert_eq!((report.images, report.pixels, report.tiled), (2, 7, 0));
    assert_eq!(report.pixel_accuracy, 5.0 / 7.0);
    assert_eq!(report.miou, (0.75 + 0.5 + 0.0) / 3.0);
    assert_eq!(report.mean_accuracy, (0.75 + 2.0 / 3.0) / 2.0);
    assert_eq!(report.fw_iou, (4.0 * 0.75 + 3.0 * 0.5) / 7.0);
    assert_eq!(report.classes.iter().map(|class| class.iou).collect::<Vec<_>>(), [Some(0.75), Some(0.5), Some(0.0)]);
    assert_eq!(report.classes[2].accuracy, None);
    assert_eq!(report.trimap.iter().map(|band| (band.width, band.pixels)).collect::<Vec<_>>(), [(1, 4), (9, 7)]);
    let worst: Vec<&str> = report.worst.iter().map(|scores| scores.name.as_str()).collect();
    assert_eq!((worst, found.worst), (vec!["b/c", "a"], vec![1, 0]));
}

#[test]
fn a_limit_leaves_the_rest_out() {
    let (few, segmenter) = (Few::two(), by_color());
    let options = Options { limit: Some(1), ..Options::default() };
    let found = evaluate(Judged::Network(&segmenter), &few, &options, |_, _| {}).unwrap();
    assert_eq!((found.report.images, found.report.pixels, found.report.pixel_accuracy), (1, 4, 0.75));
    assert!(found.report.trimap.is_empty() && found.report.worst.is_empty());
}

#[test]
fn what_cannot_be_judged_is_an_error() {
    let segmenter = by_color();
    let judge = |few: &Few| {
        let about = About { data: "set".into(), split: "val".into(), ..About::default() };
        let options = Options { about, ..Options::default() };
        evaluate(Judged::Network(&segmenter), few, &options, |_, _| {}).unwrap_err().to_string()
    };
    let said = judge(&Few { pairs: vec![], ..Few::two() });
    assert!(said.contains("set") && said.contains("`val` has no images"), "{said}");
    let said = judge(&Few { pairs: vec![("a", vec![0; 4], vec![IGNORE; 4])], ..Few::two() });
    assert!(said.contains("nothing to judge"), "{said}");
    let said = judge(&Few { labels: Labels::numbered(4), ..Few::two() });
    assert!(said.contains("have 4 classes"), "{said}");
    let said = judge(&Few { pairs: vec![("a", vec![0; 4], vec![0, 1, 7, 0])], ..Few::two() });
    assert!(said.contains("the label 7 is none of the 3 classes") && said.contains("a"), "{said}");
}

/// An evaluation that is interrupted after the first image goes on with the second, and gives the same report.
#[test]
fn an_interrupted_evaluation_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.jsonl");
    let (few, segmenter) = (Few::two(), by_color());
    let run = |limit: Option<usize>, fresh: bool| {
        let options = Options { limit, trimap: vec![1, 9], worst: 2, ..Options::default() };
        let mut state = State::open(&path, &options.about, &few.labels, &options.trimap, fresh).unwrap();
        let (judged, mut steps) = (Judged::Network(&segmenter), vec![]);
        let run = Run { judged, options: &options, state: Some(&mut state), submission: None };
        let found = run.evaluate(&few, |done, of| steps.push((done, of))).unwrap();
        (Report { seconds: 0.0, ..found.report }, steps)
    };
    let (first, steps) = run(Some(1), false);
    assert_eq!((first.images, steps), (1, vec![(1, 1)]));
    let (both, steps) = run(None, false);
    assert_eq!((both.images, steps), (2, vec![(2, 2)]));
    let (again, steps) = run(None, false);
    assert_eq!((&again, steps), (&both, vec![]));
    let (anew, steps) = run(None, true);
    assert_eq!((&anew, steps), (&both, vec![(1, 2), (2, 2)]));
}

#[test]
fn other_peoples_label_maps_are_judged_as_a_networks() {
    let dir = tempfile::tempdir().unwrap();
    let (few, segmenter) = (Few::two(), by_color());
    let write = |name: &str, ids: &[u8], width| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_raw(width, ids.len() as u32 / width, ids.to_vec()).unwrap().save(path).unwrap();
    };
    let judge = || {
        let predictions = Predictions::find(dir.path(), &few, usize::MAX)?;
        evaluate(Judged::Predictions(&predictions), &few, &Options::default(), |_, _| {})
    };
    let refused = || judge().unwrap_err().to_string();
    write("a.png", &few.pairs[0].1, 4);
    let said = refused();
    assert!(said.contains("1 of 2 predictions are missing: b/c.png"), "{said}");
    write("b/c.png", &few.pairs[1].1, 4);
    let network = evaluate(Judged::Network(&segmenter), &few, &Options::default(), |_, _| {}).unwrap();
    let people = judge().unwrap();
    assert_eq!(people.confusion, network.confusion);
    assert_eq!(Report { seconds: 0.0, ..people.report }, Report { seconds: 0.0, ..network.report });
    // Without folders.
    std::fs::rename(dir.path().join("b/c.png"), dir.path().join("c.png")).unwrap();
    assert_eq!(judge().unwrap().confusion, network.confusion);
    write("c.png", &[0, 1, 7, 1], 4);
    assert!(judge().is_ok(), "the label is ignored there");
    write("c.png", &[0, 3, 1, 1], 4);
    let said = refused();
    assert!(said.contains("c.png") && said.contains("id 3") && said.contains("3 classes"), "{said}");
    write("c.png", &[0, 255, 1, 1], 4);
    assert!(refused().contains("an ignored id"));
    write("c.png", &[0, 1, 1, 1], 2);
    let said = refused();
    assert!(said.contains("2×2") && said.contains("4×1"), "{said}");
    let said = Predictions::find(dir.path().join("no"), &few, 2).unwrap_err().to_string();
    assert!(said.contains("no such folder"), "{said}");
}

#[test]
fn results_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let (few, segmenter) = (Few::two(), by_color());
    let options = Options { trimap: vec![1, 2, 3], worst: 1, ..Options::default() };
    let found = evaluate(Judged::Network(&segmenter), &few, &options, |_, _| {}).unwrap();
    found.write(dir.path()).unwrap();
    let worst = found.draw_worst(Judged::Network(&segmenter), &few, &dir.path().join("worst")).unwrap();
    assert_eq!(worst, [dir.path().join("worst/01_b_c.png")]);
    assert_eq!(image::open(&worst[0]).unwrap().height(), 1);
    let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text("report.json")).unwrap(), found.report);
    assert_eq!(text("confusion.csv").lines().nth(2), Some("class 1,0,2,1"));
    assert_eq!(text("trimap.csv").lines().count(), 4);
    for (name, says) in [("confusion.svg", "class 2"), ("trimap.svg", "mIoU")] {
        assert!(text(name).starts_with("<svg") && text(name).contains(says), "{name}");
    }
}

/// Label maps of images without labels are written, and only those that are not there yet.
#[test]
fn submissions_need_no_labels() {
    let dir = tempfile::tempdir().unwrap();
    let (state, folder) = (dir.path().join("state.jsonl"), dir.path().join("out"));
    let labels = candle_deeplab::Labels::cityscapes();
    let pairs =
        vec![("x/x_000000_000001", vec![0, 1, 2, 2], vec![IGNORE; 4]), ("y/y_000000_000001", vec![2], vec![IGNORE])];
    let few = Few { labels: labels.clone(), width: 1, pairs };
    let network = |pixels: &Tensor| {
        // The colours are the first three of 19 classes.
        let (_, _, height, width) = pixels.dims4()?;
        Tensor::cat(&[pixels, &pixels.affine(0.0, -1.0)?.i((.., ..1))?.broadcast_as((1, 16, height, width))?], 1)
    };
    let segmenter = Segmenter::from_parts(network, preprocessing(), labels.clone(), Device::Cpu);
    let submission = Submission::new(Benchmark::Cityscapes, &folder, "test", &labels).unwrap();
    let options = Options::default();
    let run = || {
        let mut state = State::open(&state, &options.about, &labels, &[], false).unwrap();
        let (judged, mut steps) = (Judged::Network(&segmenter), 0);
        let run = Run { judged, options: &options, state: Some(&mut state), submission: Some(&submission) };
        let count = run.submit(&few, |_, _| steps += 1).unwrap();
        (count, steps)
    };
    assert_eq!(run(), (2, 2));
    let ids = image::open(folder.join("x_000000_000001_pred_labelIds.png")).unwrap().into_luma8().into_raw();
    assert_eq!(ids, [7, 8, 11, 11]);
    assert_eq!(run(), (2, 0));
    std::fs::remove_file(folder.join("y_000000_000001_pred_labelIds.png")).unwrap();
    assert_eq!(run(), (2, 1));
}
