//! Tests of a user's first minute: the program alone, without a downloaded model or a network.

#![allow(clippy::unwrap_used)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::{Path, PathBuf};

use program::{json, refused, run, success};

fn cat() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/photos/cat.jpg")
}

#[test]
fn a_photograph_is_segmented_without_a_model_or_a_network() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["segment", cat().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (said, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(said.contains("cat.jpg: 451×300\n  cat "), "{said}");
    // One line, which names a better model.
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("`--model deeplabv3plus-xception65-voc`"), "{told}");
    // Only the picture was written.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn programs_and_the_quiet_are_not_told_of_other_models() {
    let dir = tempfile::tempdir().unwrap();
    for how in ["--json", "--quiet"] {
        let output = run(dir.path(), &["segment", cat().to_str().unwrap(), "--force", how]);
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]), "{how}: {output:?}");
    }
    let named = run(dir.path(), &["segment", cat().to_str().unwrap(), "--force", "--model", "bundled"]);
    assert_eq!((named.status.code(), &named.stderr[..]), (Some(0), &b""[..]), "{named:?}");
}

#[test]
fn the_demo_needs_nothing_and_says_where_its_picture_is() {
    let dir = tempfile::tempdir().unwrap();
    let said = success(dir.path(), &["demo"]);
    let folder = dir.path().canonicalize().unwrap().join("candle-deeplab-demo");
    assert!(said.contains(&format!("wrote {}", folder.join("cat.overlay").display())), "{said}");
    assert!(std::fs::read(folder.join("cat.jpg")).unwrap() == std::fs::read(cat()).unwrap());
    // Even the demo replaces nothing without `--force`.
    assert!(refused(dir.path(), &["demo"]).contains("--force"));
    success(dir.path(), &["demo", "--force"]);
    std::fs::write(folder.join("cat.jpg"), "mine").unwrap();
    assert!(refused(dir.path(), &["demo"]).contains("another picture"));
    success(dir.path(), &["demo", "-o", "else/where"]);
}

#[test]
fn the_model_in_the_box_is_listed_and_works_in_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let listed = json(dir.path(), &["models", "--json"]);
    let row = listed["models"].as_array().unwrap().iter().find(|model| model["id"] == "bundled").unwrap();
    assert_eq!((&row["cached"], &row["params"]), (&true.into(), &2_097_013.into()));
    assert!(success(dir.path(), &["info", "bundled"]).contains("DeepLabv3 mobilenet_v2"));
    let bench = json(dir.path(), &["bench", "-m", "bundled", "--size", "65x65", "--runs", "1", "--json"]);
    assert_eq!(bench["model"], "bundled");
    success(dir.path(), &["export", "onnx", "--model", "bundled", "--size", "65x65", "-o", "bundled.onnx"]);
    assert!(success(dir.path(), &["pull", "bundled"]).contains("part of this program"));
}

/// A folder with its name does not hide it.
#[test]
fn bundled_is_always_the_model_in_the_box() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("bundled")).unwrap();
    success(dir.path(), &["segment", cat().to_str().unwrap(), "--model", "bundled"]);
    assert!(
        refused(dir.path(), &["segment", cat().to_str().unwrap(), "--force", "--model", "./bundled"])
            .contains("config.json")
    );
}

#[test]
fn a_model_that_cannot_be_fetched_is_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["segment", cat().to_str().unwrap(), "--model", "xception65-voc"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("`--model bundled` works without a network"), "{told}");
}
