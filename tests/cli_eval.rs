//! Tests of `candle-deeplab eval` from the command line, on small generated data sets.

#![allow(clippy::unwrap_used)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;

use image::{GrayImage, Rgb, RgbImage};
use program::{json, model, refused, success};
use serde_json::Value;
use tempfile::TempDir;

fn photo(seed: u32) -> RgbImage {
    RgbImage::from_fn(48, 40, |x, y| Rgb([(x * (5 + seed)) as u8, (y * 7) as u8, (x * y / (2 + seed)) as u8]))
}

fn save(dir: &Path, name: &str, image: &GrayImage) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

/// A folder `set` with two images in its split `test`, labelled with stripes of VOC's classes 0 and 15 and of ignored
/// pixels.
fn set() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("set/images/test/sub")).unwrap();
    for (name, seed) in [("a", 1), ("sub/b", 3)] {
        photo(seed).save(dir.path().join(format!("set/images/test/{name}.png"))).unwrap();
        let labels = GrayImage::from_fn(48, 40, |x, _| [[0], [15], [255]][((x + seed) / 8 % 3) as usize].into());
        save(dir.path(), &format!("set/labels/test/{name}.png"), &labels);
    }
    dir
}

const SET: [&str; 7] = ["eval", "--data", "set", "--split", "test", "--labels", "voc"];

fn eval<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SET[..], more].concat()
}

fn with_model<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SET[..], &["--model", model()], more].concat()
}

/// A report without what differs from run to run.
fn scores(mut report: Value) -> Value {
    for key in ["seconds", "model", "options", "digest", "worst"] {
        report.as_object_mut().unwrap().remove(key);
    }
    report
}

#[test]
fn a_report_has_all_scores() {
    let dir = set();
    let report = json(dir.path(), &with_model(&["--json"]));
    for key in ["miou", "pixel_accuracy", "mean_accuracy", "fw_iou", "mean_precision", "mean_f1"] {
        let score = report[key].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&score), "{key}: {score}");
    }
    let classes = report["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 21);
    assert_eq!((&classes[15]["name"], classes[15]["pixels"].as_u64()), (&"person".into(), Some(2 * 16 * 40)));
    assert!(classes[15]["iou"].is_number() && classes[0]["accuracy"].is_number());
    let pixels: u64 = classes.iter().map(|class| class["pixels"].as_u64().unwrap()).sum();
    assert_eq!(Some(pixels), report["pixels"].as_u64());
    let predicted: u64 = classes.iter().map(|class| class["predicted"].as_u64().unwrap()).sum();
    assert_eq!(pixels, predicted);
    assert_eq!((&report["images"], &report["split"], &report["data"]), (&2.into(), &"test".into(), &"set".into()));
    assert_eq!(report["options"]["dtype"], "f32");
    // A class that is nowhere has no IoU, and the mean leaves it out.
    let ious: Vec<f64> = classes.iter().filter_map(|class| class["iou"].as_f64()).collect();
    let nowhere = |class: &&Value| class["pixels"] == 0 && class["predicted"] == 0;
    assert_eq!(21 - ious.len(), classes.iter().filter(nowhere).count());
    assert!((report["miou"].as_f64().unwrap() - ious.iter().sum::<f64>() / ious.len() as f64).abs() < 1e-12);
}

/// What `segment` writes is what `eval` judges.
#[test]
fn a_models_label_maps_are_judged_as_the_model() {
    let dir = set();
    let judged = json(dir.path(), &with_model(&["--json"]));
    success(dir.path(), &["segment", "set/images/test", "-o", "maps", "--format", "ids", "--model", model()]);
    for name in ["a", "sub/b"] {
        let file = |suffix: &str| dir.path().join(format!("maps/{name}{suffix}.png"));
        std::fs::rename(file(".ids"), file("")).unwrap();
    }
    let maps = json(dir.path(), &eval(&["--predictions", "maps", "--json"]));
    assert_eq!(maps["model"], "maps");
    assert_eq!(scores(maps), scores(judged));
}

#[test]
fn predictions_are_scored_as_counted_by_hand() {
    let dir = set();
    // One is right everywhere, the other is a person everywhere.
    let labels = image::open(dir.path().join("set/labels/test/a.png")).unwrap().into_luma8();
    let right = GrayImage::from_fn(48, 40, |x, y| [if labels.get_pixel(x, y)[0] == 15 { 15 } else { 0 }].into());
    save(dir.path(), "maps/a.png", &right);
    save(dir.path(), "maps/b.png", &GrayImage::from_pixel(48, 40, [15].into()));
    let args = eval(&["--predictions", "maps", "--trimap", "3", "--worst", "1", "--json"]);
    let report = json(dir.path(), &args);
    // Each image has 16 columns of both classes.
    let (background, person) = (0.5, 2.0 / 3.0);
    let score = |value: &Value, expected: f64| assert!((value.as_f64().unwrap() - expected).abs() < 1e-12, "{value}");
    score(&report["classes"][0]["iou"], background);
    score(&report["classes"][15]["iou"], person);
    score(&report["miou"], (background + person) / 2.0);
    score(&report["pixel_accuracy"], 0.75);
    score(&report["mean_accuracy"], 0.75);
    score(&report["fw_iou"], (background + person) / 2.0);
    assert_eq!(report["classes"][1]["iou"], Value::Null);
    assert_eq!(report["trimap"].as_array().unwrap().len(), 3);
    assert_eq!(report["worst"][0]["name"], "sub/b");
    let said = success(dir.path(), &eval(&["--predictions", "maps", "--worst", "1"]));
    assert!(said.contains("person") && said.contains("mIoU 58.33 %, pixel accuracy 75.00 %"), "{said}");
    assert!(said.contains("left out of the mean: aeroplane, ") && said.contains("worst: sub/b"), "{said}");
}

#[test]
fn files_are_written_and_an_interrupted_evaluation_goes_on() {
    let dir = set();
    let out = |more: &[&'static str]| with_model(&[&["--out", "out", "--trimap", "2", "--json"], more].concat());
    let first = json(dir.path(), &out(&["--limit", "1"]));
    assert_eq!(first["images"], 1);
    let lines = || std::fs::read_to_string(dir.path().join("out/state.jsonl")).unwrap().lines().count();
    assert_eq!(lines(), 2);
    // As if it had been killed while it wrote.
    let state = dir.path().join("out/state.jsonl");
    let mut text = std::fs::read_to_string(&state).unwrap();
    text.push_str("{\"name\":\"sub/b\",\"conf");
    std::fs::write(&state, text).unwrap();
    let both = json(dir.path(), &out(&["--worst", "2"]));
    assert_eq!((both["images"].as_u64(), lines()), (Some(2), 3));
    let anew = json(dir.path(), &with_model(&["--trimap", "2", "--json"]));
    assert_eq!(scores(both.clone()), scores(anew));
    let report = std::fs::read_to_string(dir.path().join("out/report.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap(), both);
    for name in ["confusion.csv", "confusion.svg", "trimap.csv", "trimap.svg", "worst/01_a.png", "worst/02_sub_b.png"] {
        let other = name.replace("01_a", "01_sub_b").replace("02_sub_b", "02_a");
        assert!(dir.path().join("out").join(name).exists() || dir.path().join("out").join(other).exists(), "{name}");
    }
    assert!(!dir.path().join("out/submission").exists());
    let said = refused(dir.path(), &out(&["--flip"]));
    assert!(said.contains("another evaluation") && said.contains("options") && said.contains("--force"), "{said}");
    let flipped = json(dir.path(), &out(&["--flip", "--force"]));
    assert_eq!((&flipped["options"]["flip"], lines()), (&true.into(), 3));
}

#[test]
fn what_cannot_be_judged_is_refused_with_the_reason() {
    let dir = set();
    save(dir.path(), "maps/a.png", &GrayImage::new(48, 40));
    let predictions = || refused(dir.path(), &eval(&["--predictions", "maps"]));
    let said = predictions();
    assert!(said.contains("1 of 2 predictions are missing: sub/b.png"), "{said}");
    save(dir.path(), "maps/sub/b.png", &GrayImage::new(24, 40));
    let said = predictions();
    assert!(said.contains("maps/sub/b.png") && said.contains("24×40") && said.contains("48×40"), "{said}");
    save(dir.path(), "maps/sub/b.png", &GrayImage::from_pixel(48, 40, [200].into()));
    let said = predictions();
    assert!(said.contains("maps/sub/b.png") && said.contains("200") && said.contains("21 classes"), "{said}");
    RgbImage::new(48, 40).save(dir.path().join("maps/sub/b.png")).unwrap();
    assert!(predictions().contains("RGB"));

    let cityscapes = ["eval", "--data", "set", "--split", "test", "--labels", "cityscapes", "--model", model()];
    let said = refused(dir.path(), &cityscapes);
    assert!(said.contains("`cityscapes`) have 19") && said.contains("`voc`) 21"), "{said}");
    // A folder whose name says its classes is not judged as the model's.
    std::fs::rename(dir.path().join("set"), dir.path().join("camvid")).unwrap();
    let said = refused(dir.path(), &["eval", "--data", "camvid", "--split", "test", "--model", model()]);
    assert!(said.contains("(`camvid`) have 11 classes, and the model's (`voc`) 21"), "{said}");
    std::fs::rename(dir.path().join("camvid"), dir.path().join("set")).unwrap();
    let no_model = |args: &[&str]| refused(dir.path(), &[args, &["--model", "no-such-model"]].concat());
    for (args, says) in [
        (&["eval", "--data", "no/such"][..], "no/such"),
        (&["eval", "--data", "set", "--kind", "voc"], "VOC"),
        (&["eval", "--data", "set", "--submission", "--out", "o"], "`--submission` is for"),
        (&["eval", "--data", "set", "--submission"], "--out"),
        (&["eval", "--data", "set", "--force"], "--out"),
        (&["eval", "--data", "set", "--predictions", "maps"], "cannot be used with"),
        (&["eval", "--data", "set", "--trimap", "0"], "from 1 to"),
        (&["eval", "--data", "set", "--dtype", "bf16", "--executor", "eager"], "compute in f32"),
    ] {
        let said = no_model(args);
        assert!(said.contains(says), "{args:?}: {said}");
    }
    let said = refused(dir.path(), &["eval", "--data", "set", "--predictions", "maps", "--split", "val"]);
    assert!(said.contains("no split `val`") && said.contains("test"), "{said}");
}

/// VOC's test split has no labels.
#[test]
fn submissions_are_as_the_server_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let lists = dir.path().join("voc/ImageSets/Segmentation");
    for folder in [&lists, &dir.path().join("voc/JPEGImages"), &dir.path().join("voc/SegmentationClass")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(lists.join("test.txt"), "2008_000001\n").unwrap();
    photo(2).save(dir.path().join("voc/JPEGImages/2008_000001.jpg")).unwrap();
    let args = ["eval", "--data", "voc", "--split", "test", "--model", model(), "--out", "out", "--json"];
    assert!(refused(dir.path(), &args).contains("2008_000001"));
    let said = json(dir.path(), &[&args[..], &["--submission"]].concat());
    assert_eq!((said["images"].as_u64(), &said["submission"]), (Some(1), &"out/submission".into()));
    let file = dir.path().join("out/submission/results/VOC2012/Segmentation/comp6_test_cls/2008_000001.png");
    let mut decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(file).unwrap()));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let reader = decoder.read_info().unwrap();
    assert_eq!((reader.info().width, reader.info().color_type), (48, png::ColorType::Indexed));
}
