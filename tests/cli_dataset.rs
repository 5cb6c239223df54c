//! Tests of `candle-deeplab dataset` from the command line. The library's tests check layouts, faults and augmentation.

#![allow(clippy::unwrap_used)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::fs;
use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};
use program::{json, refused, run, success};
use tempfile::TempDir;

/// Two images for training and one for validation; red is class 1, and a part is ignored.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["train/a", "train/sub/b", "val/c"] {
        let image = RgbImage::from_fn(64, 48, |x, _| if x < 32 { Rgb([200, 30, 30]) } else { Rgb([30, 30, 200]) });
        let labels = GrayImage::from_fn(64, 48, |x, y| Luma([if y < 8 { 255 } else { u8::from(x < 32) }]));
        put(dir.path(), &format!("set/images/{name}.png"), |path| image.save(path).unwrap());
        put(dir.path(), &format!("set/labels/{name}.png"), |path| labels.save(path).unwrap());
    }
    put(dir.path(), "set/labels.txt", |path| fs::write(path, "water\nbrick\n").unwrap());
    dir
}

fn put(dir: &Path, name: &str, write: impl FnOnce(&Path)) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(&path);
}

#[test]
fn check_says_what_is_there_and_what_is_wrong() {
    let dir = folder();
    let found = json(dir.path(), &["dataset", "check", "set", "--json"]);
    assert_eq!((&found["faults"], &found["kind"]), (&0.into(), &"folder".into()));
    assert_eq!(found["splits"][0]["split"], "train");
    assert_eq!(found["splits"][0]["ids"][1]["name"], "brick");
    assert_eq!(found["splits"][0]["ids"][1]["pixels"], 2 * 32 * 40);
    let text = success(dir.path(), &["dataset", "check", "set", "--split", "train"]);
    assert!(text.contains("train: 2 images of 64×48") && text.contains("brick"), "{text}");
    assert!(!text.contains("val") && text.contains("nothing is wrong"), "{text}");

    fs::write(dir.path().join("set/labels.txt"), "water\n").unwrap();
    fs::remove_file(dir.path().join("set/labels/val/c.png")).unwrap();
    let output = run(dir.path(), &["dataset", "check", "set", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["faults"], 3);
    let fault = found["splits"][0]["faults"][0].as_str().unwrap();
    assert!(fault.contains("a.png") && fault.contains("id 1 at column 0, row 8"), "{fault}");
    let output = run(dir.path(), &["dataset", "check", "set", "--quiet"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{said}");
    assert!(said.lines().count() == 3 && said.contains("no label map"), "{said}");
    assert!(refused(dir.path(), &["dataset", "check", "set", "--split", "tran"]).contains("did you mean train?"));
    assert!(refused(dir.path(), &["dataset", "check", "nowhere"]).contains("no such folder"));
}

#[test]
fn browse_draws_the_samples_of_training() {
    let dir = folder();
    let browse = |more: &[&str]| {
        let args = ["dataset", "browse", "set", "--count", "3", "--crop", "60x100", "--json", "-o"];
        json(dir.path(), &[&args, more].concat())
    };
    let found = browse(&["look"]);
    let pictures = found["pictures"].as_array().unwrap();
    assert_eq!(pictures.len(), 3);
    for picture in pictures {
        let drawn = image::open(dir.path().join(picture["path"].as_str().unwrap())).unwrap();
        // The sample beside the labels over it, and a legend below.
        assert!(drawn.width() == 2 * 100 && drawn.height() > 60);
    }
    let read = |folder: &str| {
        let mut files: Vec<_> =
            fs::read_dir(dir.path().join(folder)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>()
    };
    browse(&["again"]);
    browse(&["other", "--seed", "1"]);
    assert!(read("look") == read("again") && read("look") != read("other"));
    let again = refused(dir.path(), &["dataset", "browse", "set", "--crop", "60x100", "-o", "look"]);
    assert!(again.contains("--force"), "{again}");
    browse(&["look", "--force"]);
    let wrong = refused(dir.path(), &["dataset", "browse", "set", "-o", "x", "--flip", "2"]);
    assert!(wrong.contains("augment.flip"), "{wrong}");
}

#[test]
fn convert_makes_ids_of_colours_and_stops_for_nothing() {
    let dir = folder();
    let colors = RgbImage::from_fn(6, 4, |x, _| Rgb([[128, 0, 0], [0, 0, 0]][usize::from(x > 2)]));
    put(dir.path(), "colors/sub/good.png", |path| colors.save(path).unwrap());
    let mut wrong = colors.clone();
    wrong.put_pixel(4, 1, Rgb([1, 2, 3]));
    put(dir.path(), "colors/wrong.png", |path| wrong.save(path).unwrap());
    let to_ids = ["dataset", "convert", "colors", "-o", "ids", "--to", "ids", "--labels", "camvid"];
    let output = run(dir.path(), &to_ids);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("wrong.png") && said.contains("column 4, row 1") && said.contains("#010203"), "{said}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "wrote 1 files into ids, 1 failed\n");
    // Nothing is left of the one that failed.
    assert_eq!(fs::read_dir(dir.path().join("ids")).unwrap().count(), 1);

    let refusal = refused(dir.path(), &to_ids);
    assert!(refusal.contains("good.png") && refusal.contains("--force"), "{refusal}");
    let back = ["dataset", "convert", "ids", "-o", "back", "--to", "colors", "--labels", "camvid"];
    success(dir.path(), &back);
    assert_eq!(image::open(dir.path().join("back/sub/good.png")).unwrap().into_rgb8(), colors);
    let palette = dir.path().join("palette.txt");
    fs::write(palette, "#ffffff\n".repeat(11)).unwrap();
    success(dir.path(), &[&back[..], &["--palette", "palette.txt", "--force"]].concat());
    assert_eq!(image::open(dir.path().join("back/sub/good.png")).unwrap().into_rgb8().get_pixel(0, 0).0, [255; 3]);
    assert!(refused(dir.path(), &["dataset", "convert", "ids", "-o", "x", "--to", "ids"]).contains("--labels"));
    let twice = ["dataset", "convert", "ids/sub/good.png", "back/sub/good.png", "-o", "x", "--to", "label-ids"];
    assert!(refused(dir.path(), &twice).contains("would both become"));
}

#[test]
fn convert_knows_cityscapes_names() {
    let dir = tempfile::tempdir().unwrap();
    let ids = GrayImage::from_fn(4, 2, |x, _| Luma([[7, 33, 0, 8][x as usize]]));
    put(dir.path(), "gtFine/val/x/x_gtFine_labelIds.png", |path| ids.save(path).unwrap());
    put(dir.path(), "gtFine/val/x/x_gtFine_color.png", |path| RgbImage::new(4, 2).save(path).unwrap());
    success(dir.path(), &["dataset", "convert", "gtFine", "-o", "gtFine", "--to", "train-ids"]);
    let converted = image::open(dir.path().join("gtFine/val/x/x_gtFine_labelTrainIds.png")).unwrap().into_luma8();
    assert_eq!(converted.into_raw()[..4], [0, 18, 255, 1]);
}
