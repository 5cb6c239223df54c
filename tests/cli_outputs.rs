//! Tests of the outputs of `candle-deeplab segment` on images: formats, names, standard output, COCO results.

#![allow(clippy::unwrap_used)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

use program::{model, refused, run};

/// A folder `in` with images of 60×40 pixels with these names.
fn images(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        let path = dir.path().join("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        photo().save(path).unwrap();
    }
    dir
}

fn photo() -> RgbImage {
    RgbImage::from_fn(60, 40, |x, y| Rgb([(x * 4) as u8, (y * 6) as u8, 90]))
}

fn segment<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["segment", "--model", model()], args].concat()
}

fn success(dir: &Path, args: &[&str]) -> String {
    program::success(dir, &segment(args))
}

fn out(dir: &Path) -> Vec<String> {
    let mut names = vec![];
    let mut folders = vec![dir.join("out")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(path.strip_prefix(dir.join("out")).unwrap().to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    names.sort();
    names
}

fn format(path: &Path) -> ImageFormat {
    image::guess_format(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_photographs_overlay_stays_a_jpeg_and_label_maps_stay_exact() {
    let dir = images(&["a.jpg", "b.png"]);
    success(dir.path(), &["in", "-o", "out", "--format", "overlay,color,mask", "--cutout", "background"]);
    let expected = [
        "a.color.png",
        "a.cutout.png",
        "a.mask.png",
        "a.overlay.jpg",
        "b.color.png",
        "b.cutout.png",
        "b.mask.png",
        "b.overlay.png",
    ];
    assert_eq!(out(dir.path()), expected);
    assert_eq!(format(&dir.path().join("out/a.overlay.jpg")), ImageFormat::Jpeg);
}

#[test]
fn pictures_are_written_as_somebody_says() {
    let dir = images(&["a.jpg"]);
    success(dir.path(), &["in", "-o", "out", "--picture-format", "webp", "--cutout", "background"]);
    assert_eq!(out(dir.path()), ["a.cutout.webp"]);
    assert!(image::open(dir.path().join("out/a.cutout.webp")).unwrap().color().has_alpha());
    let size = |quality: &str| {
        let name = format!("{quality}.jpeg");
        success(dir.path(), &["in/a.jpg", "-o", &name, "--quality", quality]);
        assert_eq!(format(&dir.path().join(&name)), ImageFormat::Jpeg);
        std::fs::metadata(dir.path().join(name)).unwrap().len()
    };
    assert!(size("20") < size("95"));
}

#[test]
fn a_quality_for_what_loses_nothing_is_refused() {
    let dir = images(&["a.png"]);
    for args in [&["in/a.png", "--quality", "80"][..], &["in/a.png", "-o", "x.webp", "--quality", "80"]] {
        assert!(refused(dir.path(), &segment(args)).contains("--picture-format jpeg"));
    }
    for quality in ["0", "101", "x"] {
        refused(dir.path(), &segment(&["in/a.png", "-o", "x.jpg", "--quality", quality]));
    }
    let said = refused(dir.path(), &segment(&["in/a.png", "--cutout", "person", "--picture-format", "jpeg"]));
    assert!(said.contains("overlay, color and contours"), "{said}");
}

#[test]
fn what_the_program_wrote_is_no_input_of_the_next_run() {
    let dir = images(&["a.jpg", "b.png"]);
    for format in ["jpeg", "webp", "png"] {
        success(&dir.path().join("in"), &[".", "--format", "overlay,contours", "--picture-format", format]);
    }
    let again = run(&dir.path().join("in"), &segment(&[".", "--format", "json", "-o", "../out", "--json"]));
    assert_eq!(String::from_utf8(again.stdout).unwrap().lines().count(), 2);
    // The arguments that a shell makes of a pattern.
    let args = ["a.jpg", "a.overlay.jpg", "a.overlay.png", "--format", "ids", "-o", "../out"];
    let output = run(&dir.path().join("in"), &segment(&args));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("`a.overlay.jpg` is left out"), "{said}");
    assert_eq!(out(dir.path()), ["a.ids.png", "a.json", "b.json"]);
}

#[test]
fn standard_output_carries_the_picture_and_standard_error_the_report() {
    let dir = images(&["a.jpg", "b.png"]);
    let output = run(dir.path(), &segment(&["in/b.png", "-o", "-"]));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(image::load_from_memory_with_format(&output.stdout, ImageFormat::Png).unwrap().width(), 60);
    assert!(String::from_utf8(output.stderr).unwrap().contains("in/b.png: 60×40"));
    let jpeg = run(dir.path(), &segment(&["in/a.jpg", "-o", "-", "--quiet"]));
    assert_eq!(image::guess_format(&jpeg.stdout).unwrap(), ImageFormat::Jpeg);
    assert!(jpeg.stderr.is_empty());
    let json = run(dir.path(), &segment(&["in/b.png", "-o", "-", "--format", "json", "--json"]));
    assert_eq!(serde_json::from_slice::<Value>(&json.stdout).unwrap()["image"], "in/b.png");
    assert_eq!(serde_json::from_slice::<Value>(&json.stderr).unwrap()["outputs"][0]["path"], "-");
    assert!(refused(dir.path(), &segment(&["in", "-o", "-"])).contains("one output"));
    assert!(!dir.path().join("-").exists());
}

#[test]
fn a_reader_who_has_seen_enough_of_a_picture_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    // The picture is larger than a pipe's buffer.
    RgbImage::from_fn(700, 700, |x, y| Rgb([(x * y) as u8, (x * 7 + y * 13) as u8, (x ^ y) as u8]))
        .save(dir.path().join("a.png"))
        .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_candle-deeplab"))
        .current_dir(dir.path())
        .args(segment(&["a.png", "-o", "-", "--quiet"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn inputs_of_one_name_keep_both_results() {
    let dir = images(&["one/x.jpg", "two/x.jpg", "two/y.jpg"]);
    success(dir.path(), &["in/one/x.jpg", "in/two/x.jpg", "in/two/y.jpg", "-o", "out", "--format", "ids"]);
    assert_eq!(out(dir.path()), ["one/x.ids.png", "two/x.ids.png", "two/y.ids.png"]);
    let again = images(&["one/x.jpg", "two/x.jpg"]);
    success(again.path(), &["in/one", "in/two", "-o", "out", "--format", "ids"]);
    assert_eq!(out(again.path()), ["one/x.ids.png", "two/x.ids.png"]);
}

#[test]
fn inputs_that_are_called_alike_keep_their_extensions() {
    let dir = images(&["a.jpg", "a.png", "a.jpg.bmp", "b.jpg"]);
    success(dir.path(), &["in", "-o", "out", "--format", "ids"]);
    assert_eq!(out(dir.path()), ["a.jpg.bmp.ids.png", "a.jpg.ids.png", "a.png.ids.png", "b.ids.png"]);
}

#[test]
fn the_time_that_is_printed_includes_writing() {
    let dir = images(&["a.png"]);
    let line: Value = serde_json::from_str(&success(dir.path(), &["in", "-o", "out", "--json"])).unwrap();
    let part = |name: &str| line["seconds"][name].as_f64().unwrap();
    assert!(["load", "read", "segment", "write"].into_iter().all(|name| part(name) > 0.0));
    assert!(success(dir.path(), &["in", "-o", "out2"]).contains(" s to load the model)\n"));
}

#[test]
fn coco_results_have_integer_ids_and_scores() {
    let dir = images(&["000000397133.jpg", "12.png"]);
    success(dir.path(), &["in", "-o", "out", "--format", "rle"]);
    assert_eq!(out(dir.path()), ["000000397133.rle.json", "12.rle.json"]);
    let results = |name: &str| -> Vec<Value> {
        serde_json::from_slice(&std::fs::read(dir.path().join("out").join(name)).unwrap()).unwrap()
    };
    for result in results("000000397133.rle.json") {
        assert_eq!((&result["image_id"], &result["score"]), (&397_133.into(), &1.0.into()));
        assert!(result["category_id"].is_u64() && result["segmentation"]["counts"].is_string());
    }
    // With probabilities the score is the network's confidence.
    success(dir.path(), &["in/12.png", "-o", "out", "--format", "rle", "--probs", "--force"]);
    for result in results("12.rle.json") {
        let score = result["score"].as_f64().unwrap();
        assert!(0.0 < score && score < 1.0, "{result}");
    }
}

#[test]
fn images_that_are_no_numbers_are_counted_and_a_table_says_how() {
    let dir = images(&["cat.jpg", "sub/dog.png", "7.jpg"]);
    success(dir.path(), &["in", "-o", "out", "--format", "rle"]);
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(dir.path().join("out").join(name)).unwrap()).unwrap()
    };
    let table = read("image_ids.json");
    let images: Vec<_> =
        table["images"].as_array().unwrap().iter().map(|image| (&image["id"], &image["file_name"])).collect();
    let expected =
        [(1, "7.jpg"), (2, "cat.jpg"), (3, "sub/dog.png")].map(|(id, name)| (Value::from(id), Value::from(name)));
    assert_eq!(images, expected.iter().map(|(id, name)| (id, name)).collect::<Vec<_>>());
    for result in read("sub/dog.rle.json").as_array().unwrap() {
        assert_eq!(result["image_id"], 3);
    }
    // A later run continues the numbers.
    photo().save(dir.path().join("bird.png")).unwrap();
    success(dir.path(), &["bird.png", "-o", "out", "--format", "rle"]);
    assert_eq!(read("image_ids.json")["images"][3], serde_json::json!({"id": 4, "file_name": "bird.png"}));
}

/// Needs pycocotools, for `python3` or the interpreter that `PYTHON` names.
#[test]
fn pycocotools_loads_and_evaluates_the_results() {
    let python = std::env::var("PYTHON").unwrap_or("python3".into());
    if !Command::new(&python).args(["-c", "import pycocotools"]).output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: `{python}` has no pycocotools");
    }
    const SCRIPT: &str = r#"
import glob, json
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
truth = COCO("out/image_ids.json")
for image in truth.dataset["images"]:
    image["width"], image["height"] = 60, 40
results = sum((json.load(open(name)) for name in sorted(glob.glob("out/*.rle.json"))), [])
assert results, "the network sees nothing"
truth.dataset["annotations"] = [
    {**ann, "iscrowd": 0} for ann in truth.loadRes(json.loads(json.dumps(results))).dataset["annotations"]]
truth.createIndex()
for name in glob.glob("out/*.rle.json"):
    if json.load(open(name)):
        truth.loadRes(name)
evaluation = COCOeval(truth, truth.loadRes(results), "segm")
evaluation.evaluate(); evaluation.accumulate(); evaluation.summarize()
assert evaluation.stats[0] > 0.999, evaluation.stats
"#;
    let dir = images(&["cat.jpg", "dog.png"]);
    success(dir.path(), &["in", "-o", "out", "--format", "rle"]);
    let output = Command::new(python).current_dir(dir.path()).args(["-c", SCRIPT]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_gif_that_does_not_move_is_a_picture() {
    let dir = images(&["a.gif"]);
    success(dir.path(), &["in", "-o", "out"]);
    assert_eq!(out(dir.path()), ["a.overlay.png"]);
}

#[test]
fn a_heic_photograph_is_refused_with_the_way_out() {
    let dir = images(&["a.png"]);
    std::fs::write(dir.path().join("in/b.heic"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic and so on").unwrap();
    let output = run(dir.path(), &segment(&["in", "-o", "out"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("b.heic") && said.contains("heif-convert"), "{said}");
    assert_eq!(out(dir.path()), ["a.overlay.png"]);
}
