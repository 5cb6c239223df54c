//! Tests of quantised and half-precision TFLite models from TensorFlow's converter (`tests/golden/tflite`).

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "support/converter.rs"]
mod converter;
mod support;

use std::path::{Path, PathBuf};

use converter::{convert, refused, run};
use serde_json::Value;
use support::shared::{kept, shared};

/// Converts a model and compares it with the network that TensorFlow made of the same weights. Returns the report.
fn is_the_same_network(kind: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let report = convert(&kept(&format!("tflite/{kind}.tflite")), &out, &["--json"]);
    let reference = kept(&format!("tflite/{kind}.safetensors"));
    let args = ["verify".as_ref(), out.as_os_str(), "--reference".as_ref(), reference.as_os_str()];
    let verified = run(args.into_iter().chain(["--tolerance".as_ref(), "1e-4".as_ref()]));
    let said = String::from_utf8(verified.stdout).unwrap();
    println!("{kind}: {said}");
    assert!(verified.status.success(), "{kind}: {said}");
    serde_json::from_str(&report).unwrap()
}

#[test]
fn int8_with_a_scale_for_each_channel() {
    let report = is_the_same_network("int8");
    // Every kernel and every bias is dequantised.
    assert_eq!((&report["dequantized"]["count"], &report["used"]["count"]), (&110.into(), &110.into()));
    let decisions = report["decisions"].as_array().unwrap();
    let said = decisions.iter().find(|decision| decision["what"] == "quantised").unwrap();
    assert_eq!(said["value"], "110 tensors");
}

#[test]
fn int8_with_a_scale_for_each_tensor() {
    assert_eq!(is_the_same_network("int8_per_tensor")["dequantized"]["count"], 110);
}

#[test]
fn half_precision_behind_dequantize() {
    let report = is_the_same_network("float16");
    assert_eq!((&report["dequantized"]["count"], &report["used"]["count"]), (&0.into(), &110.into()));
}

/// The value of a decision in a report, and its reason.
fn decision<'a>(report: &'a Value, what: &str) -> [&'a str; 2] {
    let decisions = report["decisions"].as_array().unwrap();
    let decision = decisions.iter().find(|decision| decision["what"] == what).unwrap();
    ["value", "because"].map(|field| decision[field].as_str().unwrap())
}

/// The report and the recipe that a model converts to.
fn converted(file: &Path, flags: &[&str]) -> (Value, Value) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let report = convert(file, &out, &[&["--json"], flags].concat());
    let config = std::fs::read(out.join("config.json")).unwrap();
    (serde_json::from_str(&report).unwrap(), serde_json::from_slice(&config).unwrap())
}

/// A stored model, after changing the options `align_corners` and `half_pixel_centers` of its only resize and the side
/// of that resize's input.
fn resizing(dir: &Path, [align, half]: [bool; 2], side: u8) -> PathBuf {
    let mut model = std::fs::read(kept("tflite/float16.tflite")).unwrap();
    let find = |model: &[u8], wanted: &[u8]| {
        let found: Vec<usize> = (0..model.len()).filter(|&at| model[at..].starts_with(wanted)).collect();
        assert_eq!(found.len(), 1, "the model is another one");
        found[0]
    };
    // The shape [1, 1, 1, 16] of image pooling's result.
    let shape = find(&model, &[[4, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [16, 0, 0, 0]].concat());
    (model[shape + 8], model[shape + 12]) = (side, side);
    // The options are a table of 8 bytes after its vtable, which has align_corners only, at the last byte. They get a
    // new vtable at the end of the file, with align_corners at 7 and half_pixel_centers at 6.
    let vtable = [10, 0, 8, 0, 0, 0, 0, 0, 7, 0];
    let options = find(&model, &vtable) + vtable.len();
    (model[options + 7], model[options + 6]) = (align.into(), half.into());
    let back = options as i32 - model.len() as i32;
    model[options..options + 4].copy_from_slice(&back.to_le_bytes());
    model.extend([12, 0, 8, 0, 0, 0, 0, 0, 7, 0, 6, 0]);
    let path = dir.join("model.tflite");
    std::fs::write(&path, model).unwrap();
    path
}

#[test]
fn align_corners_is_what_the_resizes_in_the_graph_say() {
    let dir = tempfile::tempdir().unwrap();
    for (options, side, aligned) in [([true, false], 2, true), ([false, true], 2, false), ([false, true], 1, false)] {
        let (report, config) = converted(&resizing(dir.path(), options, side), &[]);
        assert_eq!(config["network"]["align_corners"], aligned);
        assert_eq!(decision(&report, "align corners"), [&aligned.to_string(), "the resizes in the file's graph"]);
    }
}

#[test]
fn align_corners_is_what_the_user_says_and_a_contradiction_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = resizing(dir.path(), [true, false], 2);
    for (told, because) in
        [("true", "--align-corners"), ("false", "--align-corners; the file's graph resizes in another way")]
    {
        let (report, config) = converted(&file, &["--align-corners", told]);
        assert_eq!(config["network"]["align_corners"].to_string(), told);
        assert_eq!(decision(&report, "align corners"), [told, because]);
    }
}

#[test]
fn a_graph_that_resizes_as_no_network_here_does_is_refused_until_the_user_chooses() {
    let dir = tempfile::tempdir().unwrap();
    let file = resizing(dir.path(), [false, false], 2);
    let said = refused(&file, &[]);
    assert!(
        said.contains("neither align_corners nor half_pixel_centers") && said.contains("--align-corners"),
        "{said}"
    );
    let (report, _) = converted(&file, &["--align-corners", "true"]);
    assert_eq!(decision(&report, "align corners")[1], "--align-corners; the file's graph resizes in another way");
}

#[test]
fn a_float_input_has_the_pixels_of_its_family() {
    let (report, config) = converted(&kept("tflite/int8.tflite"), &[]);
    assert_eq!(config["preprocessing"]["mean"], serde_json::json!([127.5, 127.5, 127.5]));
    assert_eq!(decision(&report, "pixels"), ["RGB / 127.5 − 1", "the family's rule for this backbone"]);
}

#[test]
fn the_pixels_of_a_published_quantised_model_are_those_that_its_input_says() {
    let Some(file) = shared("real/deeplabv3_mnv2_pascal_quant.tflite") else { return };
    let (report, config) = converted(&file, &[]);
    for field in ["mean", "std", "pad_value"] {
        assert_eq!(config["preprocessing"][field], serde_json::json!([128.0, 128.0, 128.0]), "{field}");
    }
    let [value, because] = decision(&report, "pixels");
    assert_eq!(value, "(RGB − 128) / 128");
    assert!(because.contains("scale 0.0078125 and zero point 128"), "{because}");
    assert_eq!(decision(&report, "align corners"), ["true", "the resizes in the file's graph"]);
}
