//! `candle-deeplab segment` as its user meets it, up to where a model is needed.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use image::{Rgb, RgbImage};
use tempfile::TempDir;

/// A directory with an image, a model directory without a model in it, and files that are neither.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    RgbImage::from_pixel(9, 7, Rgb([200, 30, 30])).save(dir.path().join("photo.png")).unwrap();
    std::fs::write(dir.path().join("notes.txt"), "not an image").unwrap();
    std::fs::create_dir(dir.path().join("model")).unwrap();
    std::fs::write(dir.path().join("model/config.json"), "{}").unwrap();
    dir
}

fn segment(dir: &Path, args: &[&str]) -> Output {
    let mut program = Command::cargo_bin("candle-deeplab").unwrap();
    program.current_dir(dir).env("HF_HOME", env!("CARGO_TARGET_TMPDIR")).arg("segment").args(args).output().unwrap()
}

/// Runs what must fail: exit code 2, nothing on standard output, no new file. Returns what it says.
fn error(args: &[&str]) -> String {
    let dir = place();
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    let before = files();
    let output = segment(dir.path(), args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    assert!(output.stdout.is_empty());
    assert_eq!(files(), before);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error: "), "{said}");
    said
}

#[test]
fn without_a_model_one_line_says_where_they_come_from() {
    let said = error(&["photo.png"]);
    assert_eq!(said.lines().count(), 1);
    assert!(said.contains("--model deeplabv3plus-xception65-voc") && said.contains("candle-deeplab models"), "{said}");
}

#[test]
fn a_model_that_is_none_is_named() {
    assert!(error(&["photo.png", "--model", "notes.txt"]).contains("cannot convert notes.txt"));
    assert!(error(&["photo.png", "--model", "nowhere"]).contains("`nowhere`"));
    // The old name of the option.
    assert!(error(&["photo.png", "--weights", "nowhere"]).contains("`nowhere`"));
    // A checkpoint's folder is for the converter.
    assert!(error(&["photo.png", "--model", "."]).contains("weights-convert convert"));
}

#[test]
fn a_model_directory_without_a_model_is_named() {
    let said = error(&["photo.png", "--model", "model"]);
    assert!(said.contains("cannot load the model in `model`") && said.contains("config.json"), "{said}");
}

#[test]
fn what_is_no_image_is_named() {
    for image in ["notes.txt", "missing.jpg", "model"] {
        let said = error(&[image, "--model", "model"]);
        assert!(said.contains("cannot read the image") && said.contains(image), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
    }
}

#[test]
fn nothing_is_overwritten_unasked() {
    let dir = place();
    for (existing, args) in [
        ("photo.overlay.png", &["photo.png", "--model", "model"][..]),
        ("photo.mask.png", &["photo.png", "--model", "model", "--format", "mask"]),
        ("out.png", &["photo.png", "--model", "model", "-o", "out.png"]),
    ] {
        std::fs::write(dir.path().join(existing), "mine").unwrap();
        let output = segment(dir.path(), args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains(existing) && said.contains("--force"), "{said}");
        assert_eq!(std::fs::read_to_string(dir.path().join(existing)).unwrap(), "mine");
    }
}

#[test]
fn the_image_is_not_overwritten_even_when_asked() {
    let said = error(&["photo.png", "--model", "model", "-o", "./photo.png", "--force"]);
    assert!(said.contains("the image itself"), "{said}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_was_not_built_in_says_how_to_build_it() {
    let said = error(&["photo.png", "--model", "model", "--device", "cuda"]);
    assert!(said.contains("--features cuda"), "{said}");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    for args in [
        &["photo.png", "--device", "gpu"][..],
        &["photo.png", "--opacity", "2"],
        &["photo.png", "--output-stride", "4"],
        &["photo.png", "--json", "--quiet"],
        &["photo.png", "--format", "jpeg"],
        &[],
    ] {
        error(args);
    }
}
