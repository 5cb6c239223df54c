//! Quantised and half-precision TFLite models, as TensorFlow's converter writes them: `tests/golden/tflite`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "support/converter.rs"]
mod converter;
mod support;

use converter::{convert, run};
use serde_json::Value;
use support::shared::kept;

/// Converts a model, compares it with the network that TensorFlow made of its weights, and gives the report.
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
    // Every kernel and every bias.
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
