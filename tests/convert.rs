//! Tests of `weights-convert` from the command line: what it converts, what it reports, and whether the network is the
//! same.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "support/converter.rs"]
mod converter;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use candle_core::Tensor;
use converter::{Tensors, change, convert, error, names_in, refused, refused_into, run};
use serde_json::Value;
use support::golden::{Golden, TOLERANCE, distance_to_summary};
use support::shared::{kept, shared};
use tempfile::TempDir;

/// The narrow Xception-65: a folder with a training checkpoint and the frozen graph made from it.
fn narrow() -> PathBuf {
    kept("xception65_narrow")
}

/// The files of a model directory.
const FILES: [&str; 3] = ["README.md", "config.json", "model.safetensors"];

/// The same weights, as tensors that a test can change.
fn narrow_tensors() -> Tensors {
    Tensors::of_checkpoint(&narrow().join("model.ckpt"))
}

/// A folder with the model that a file was converted to.
struct Model {
    dir: TempDir,
    /// The program's output.
    report: String,
}

impl Model {
    fn of(file: &Path, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let report = convert(file, &dir.path().join("model"), flags);
        Self { dir, report }
    }

    fn narrow(flags: &[&str]) -> Self {
        Self::of(&narrow(), flags)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("model")
    }

    fn weights(&self) -> Vec<u8> {
        std::fs::read(self.path().join("model.safetensors")).unwrap()
    }

    fn config(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path().join("config.json")).unwrap()).unwrap()
    }

    fn network(&self) -> Value {
        self.config()["network"].clone()
    }

    /// Runs `verify` with a reference. Returns the exit code and the output.
    fn verify(&self, reference: &Tensors, flags: &[&str]) -> (Option<i32>, String) {
        let file = reference.write(&self.dir.path().join("reference.safetensors"));
        let dir = self.path();
        let args = ["verify".as_ref(), dir.as_os_str(), "--reference".as_ref(), file.as_os_str()];
        let output = run(args.into_iter().chain(flags.iter().map(AsRef::as_ref)));
        assert!(output.stderr.is_empty(), "{output:?}");
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    /// The error of `verify` with a reference.
    fn verify_error(&self, reference: &Tensors) -> String {
        let file = reference.write(&self.dir.path().join("reference.safetensors"));
        let dir = self.path();
        error(["verify".as_ref(), dir.as_os_str(), "--reference".as_ref(), file.as_os_str()])
    }
}

fn json(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(text).unwrap()
}

/// A reference file for `verify`: the network's input and its expected logits.
fn reference(input: &Tensor, logits: &Tensor) -> Tensors {
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    Tensors::default().add("input", input.dims(), &values(input)).add("logits", logits.dims(), &values(logits))
}

fn narrow_golden() -> Golden {
    Golden::open(&narrow().join("golden.safetensors"))
}

/// The reference of the narrow network, at the head's resolution.
fn narrow_reference() -> Tensors {
    let golden = narrow_golden();
    reference(&golden.nchw("preprocessed_input"), &golden.nchw("logits"))
}

/// Bilinear interpolation with aligned corners, written for this test: first along rows, then along columns.
fn upsample(map: &Tensor, height: usize, width: usize) -> Tensor {
    let along = |map: &Tensor, axis: usize, size: usize| {
        let old = map.dims()[axis];
        let at = |i: usize| i as f64 * (old - 1) as f64 / (size - 1) as f64;
        let line = |i: usize| {
            let (low, part) = (at(i).floor() as usize, at(i).fract());
            let line = |k: usize| map.narrow(axis, k.min(old - 1), 1).unwrap();
            ((line(low) * (1.0 - part)).unwrap() + (line(low + 1) * part).unwrap()).unwrap()
        };
        Tensor::cat(&(0..size).map(line).collect::<Vec<_>>(), axis).unwrap()
    };
    along(&along(map, 2, height), 3, width)
}

// ---- what converts ----

#[test]
fn a_checkpoint_converts_by_any_of_its_names() {
    let [first, others @ ..] = ["model.ckpt", "model.ckpt.index", "model.ckpt.data-00000-of-00001", ""]
        .map(|name| Model::of(&narrow().join(name), &[]));
    assert_eq!(names_in(&first.path()), FILES);
    for other in others {
        assert_eq!((other.config(), other.weights()), (first.config(), first.weights()));
    }
}

#[test]
fn a_frozen_graph_is_the_same_model_and_tells_its_strides_and_rates() {
    let graph = Model::of(&narrow().join("frozen_inference_graph.pb"), &[]);
    let checkpoint = Model::narrow(&[]);
    assert!(graph.weights() == checkpoint.weights());
    assert_eq!(graph.network(), checkpoint.network());
    assert_eq!(graph.config()["provenance"]["format"], "frozen TensorFlow graph");
    for what in ["output stride", "atrous rates"] {
        assert!(line(&graph.report, what).contains("the file's graph"), "{}", graph.report);
        assert!(line(&checkpoint.report, what).contains("not in the file: "), "{}", checkpoint.report);
        assert!(line(&checkpoint.report, what).contains(&format!("--{}", what.replace(' ', "-"))));
    }
}

#[test]
fn tensors_of_tensorflows_names_convert_from_safetensors_too() {
    let dir = tempfile::tempdir().unwrap();
    let model = Model::of(&narrow_tensors().write(&dir.path().join("weights.safetensors")), &[]);
    assert!(model.weights() == Model::narrow(&[]).weights());
}

// ---- what is said of it ----

/// The line of a report that begins with `what`.
fn line<'a>(report: &'a str, what: &str) -> &'a str {
    report.lines().find(|line| line.trim_start().starts_with(what)).unwrap_or_else(|| panic!("no {what}: {report}"))
}

#[test]
fn the_report_counts_what_was_used_dropped_and_left() {
    let model = Model::narrow(&[]);
    let counts = [
        "used",
        "renamed",
        "transposed",
        "re-shaped",
        "unused",
        "optimizer slots",
        "training state",
        "unexpected",
        "missing",
    ]
    .map(|row| count(&model.report, row));
    assert_eq!(counts, [732, 732, 147, 0, 441, 440, 1, 0, 0], "{}", model.report);
    let first = "aspp0/BatchNorm/beta → aspp.branch0.bn.bias";
    assert!(model.report.contains("global_step") && !model.report.contains(first), "{}", model.report);
    assert!(line(&model.report, "network").contains("DeepLabv3+ xception65, 21 classes"), "{}", model.report);
    assert!(line(&model.report, "wrote").ends_with("75617 parameters"), "{}", model.report);
}

#[test]
fn the_report_is_a_line_of_json_when_asked_and_names_everything() {
    let model = Model::narrow(&["--json"]);
    let report = json(&model.report);
    let (slots, state) = (&report["left_out"]["optimizer slots"], &report["left_out"]["training state"]);
    let lists =
        ["used", "renamed", "transposed", "reshaped", "dequantized", "unexpected", "missing"].map(|what| &report[what]);
    for (list, count) in lists.into_iter().chain([slots, state]).zip([732, 732, 147, 0, 0, 0, 0, 440, 1]) {
        assert_eq!(list["count"], count, "{list}");
        assert_eq!(list["names"].as_array().unwrap().len(), count, "{list}");
    }
    assert_eq!(report["parameters"], 75617);
    assert_eq!(state["names"], serde_json::json!(["global_step"]));
    let stem = serde_json::json!({
        "from": "xception_65/entry_flow/conv1_1/weights", "to": "backbone.entry_flow.conv1.weight"
    });
    assert!(report["renamed"]["names"].as_array().unwrap().contains(&stem));
    assert_eq!(report["decisions"][0]["what"], "family");
    let stride = report["decisions"].as_array().unwrap().iter().find(|d| d["what"] == "output stride").unwrap();
    assert_eq!(stride["value"], "16");
}

#[test]
fn what_training_left_behind_is_not_in_the_model() {
    let header = model_header(&Model::narrow(&[]));
    assert_eq!(header.as_object().unwrap().len(), 732 + 1, "the tensors and __metadata__");
    assert!(!header.to_string().contains("Momentum") && !header.to_string().contains("global_step"));
}

fn model_header(model: &Model) -> Value {
    let weights = model.weights();
    let (len, rest) = weights.split_first_chunk().unwrap();
    serde_json::from_slice(&rest[..usize::try_from(u64::from_le_bytes(*len)).unwrap()]).unwrap()
}

/// The number of tensors in a row of the report.
fn count(report: &str, row: &str) -> usize {
    line(report, row).trim_start()[row.len()..].split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_variable_that_no_rule_knows_fails_unless_it_is_waved_through() {
    let dir = tempfile::tempdir().unwrap();
    let file = narrow_tensors().add("auxiliary/loss_weight", &[2], &[1., 2.]).write(&dir.path().join("w.safetensors"));
    for flags in [&[][..], &["--strict"], &["--no-strict", "--strict"]] {
        let said = refused(&file, flags);
        assert!(said.contains("1 unexpected") && said.contains("`auxiliary/loss_weight`"), "{said}");
        assert!(said.contains("--no-strict"), "{said}");
    }
    let model = Model::of(&file, &["--no-strict"]);
    assert_eq!(
        line(&model.report, "unexpected").split_whitespace().collect::<Vec<_>>(),
        ["unexpected", "1", "auxiliary/loss_weight"]
    );
    let report = json(&Model::of(&file, &["--no-strict", "--json"]).report);
    assert_eq!(report["unexpected"]["names"], serde_json::json!(["auxiliary/loss_weight"]));
    assert!(model.weights() == Model::narrow(&[]).weights());
}

#[test]
fn what_is_missing_is_named_and_never_waved_through() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = narrow_tensors().remove("aspp0/BatchNorm/gamma").remove("aspp1_depthwise/BatchNorm/beta");
    let file = tensors.add("more", &[1], &[1.]).write(&dir.path().join("w.safetensors"));
    for flags in [&[][..], &["--no-strict"]] {
        let said = refused(&file, flags);
        for part in ["`aspp0/BatchNorm/gamma` of shape [16] is missing", "`aspp1_depthwise/BatchNorm/beta`"] {
            assert!(said.contains(part), "no {part}: {said}");
        }
        assert_eq!(said.contains("1 unexpected"), flags.is_empty(), "{said}");
    }
}

#[test]
fn a_long_list_of_what_is_unexpected_is_cut_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let more = (0..100).fold(narrow_tensors(), |tensors, i| tensors.add(&format!("more/{i}"), &[1], &[0.]));
    let file = more.write(&dir.path().join("w.safetensors"));
    let said = refused(&file, &[]);
    assert!(said.contains("100 unexpected") && said.contains("and 88 more") && said.len() < 1000, "{said}");
    let report = Model::of(&file, &["--no-strict"]).report;
    assert!(
        line(&report, "unexpected").ends_with("… and 84 more") && report.contains("--json lists every name"),
        "{report}"
    );
}

#[test]
fn axes_of_one_may_be_more_or_fewer() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = narrow_tensors();
    let values = |name: &str| {
        let (_, _, bytes) = &tensors.0[name];
        bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>()
    };
    let (kernel, beta) = (values("logits/semantic/weights"), values("aspp0/BatchNorm/beta"));
    let other = narrow_tensors().add("logits/semantic/weights", &[16, 21], &kernel);
    let file = other.add("aspp0/BatchNorm/beta", &[1, 1, 1, 16], &beta).write(&dir.path().join("w.safetensors"));
    let model = Model::of(&file, &["--json"]);
    let names = serde_json::json!(["aspp0/BatchNorm/beta", "logits/semantic/weights"]);
    let mut reshaped = json(&model.report)["reshaped"]["names"].as_array().unwrap().clone();
    reshaped.sort_by_key(ToString::to_string);
    assert_eq!(serde_json::json!(reshaped), names);
    assert!(model.weights() == Model::narrow(&[]).weights());
}

#[test]
fn what_is_known_to_be_no_part_of_the_model_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let stem = "xception_65/entry_flow/conv1_1";
    let slot = format!("{stem}/weights/ExponentialMovingAverage");
    let range = format!("{stem}/weights_quant/min");
    let tensors = narrow_tensors().add(&slot, &[1], &[0.]).add(&range, &[], &[0.]);
    let file = tensors.add("xception_65/logits/biases", &[10], &[0.; 10]).write(&dir.path().join("w.safetensors"));
    let report = json(&Model::of(&file, &["--json"]).report);
    for (kind, name) in [
        ("averaged weights", slot.as_str()),
        ("ranges of activations and weights", &range),
        ("ImageNet classifier", "xception_65/logits/biases"),
    ] {
        assert_eq!(report["left_out"][kind]["names"], serde_json::json!([name]), "{report}");
    }
}

#[test]
fn a_decision_that_a_flag_made_says_so() {
    let flags =
        ["--output-stride=8", "--atrous-rates=6,12,18", "--multi-grid=1,2,4", "--labels=voc", "--input-size=65x65"];
    let report = Model::narrow(&flags).report;
    for (what, flag) in [
        ("output stride", "--output-stride"),
        ("atrous rates", "--atrous-rates"),
        ("multi-grid", "--multi-grid"),
        ("labels", "--labels"),
        ("input", "--input-size"),
    ] {
        assert!(line(&report, what).ends_with(flag), "{report}");
    }
    let graph = Model::of(&narrow().join("frozen_inference_graph.pb"), &["--output-stride", "8"]).report;
    assert!(line(&graph, "output stride").ends_with("--output-stride; the file's graph was built at 16"), "{graph}");
    assert!(line(&graph, "geometry").contains("not the file's"), "{graph}");
}

// ---- whether it is the same network ----

#[test]
fn a_converted_network_computes_what_tensorflow_computed() {
    let (code, said) = Model::narrow(&[]).verify(&narrow_reference(), &["--tolerance", "1e-4"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("the same network\n") && !said.contains("NOT"), "{said}");
    assert!(line(&said, "mask agreement").ends_with("100.0000 %"), "{said}");
}

#[test]
fn a_reference_may_be_at_the_inputs_resolution() {
    let golden = narrow_golden();
    let logits = upsample(&golden.nchw("logits"), 129, 129);
    let off = distance_to_summary(&logits, &golden.floats("resized_logits.summary"));
    assert!(off <= TOLERANCE, "the test's own resize is {off:.1e} off");
    let reference = reference(&golden.nchw("preprocessed_input"), &logits);
    let (code, said) = Model::narrow(&[]).verify(&reference, &["--tolerance", "1e-4"]);
    assert_eq!(code, Some(0), "{said}");
}

/// Logits of which one value differs by `off`.
fn with_one_logit_off(off: f32) -> Tensors {
    let mut reference = narrow_reference();
    let (_, _, bytes) = reference.0.get_mut("logits").unwrap();
    let value = f32::from_le_bytes(bytes[400..404].try_into().unwrap()) + off;
    bytes[400..404].copy_from_slice(&value.to_le_bytes());
    reference
}

#[test]
fn one_logit_that_differs_is_another_network() {
    let (code, said) = Model::narrow(&[]).verify(&with_one_logit_off(1.0), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.ends_with("NOT the same network\n"), "{said}");
    let (code, said) = Model::narrow(&[]).verify(&with_one_logit_off(f32::NAN), &["--tolerance", "1e30"]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn the_tolerance_is_a_thousandth_of_the_standard_deviation_or_what_is_told() {
    let model = Model::narrow(&[]);
    let off_by = |off: f32, flags: &[&str]| {
        let (code, said) = model.verify(&with_one_logit_off(off), &[&["--json"], flags].concat());
        (code, json(&said))
    };
    let (code, said) = off_by(1.0, &[]);
    assert_eq!((code, &said["passed"], &said["tolerance"]), (Some(1), &false.into(), &1e-3.into()));
    assert!((said["max_abs_diff"].as_f64().unwrap() - 1.0).abs() < 1e-3, "{said}");
    let std = said["max_abs_diff"].as_f64().unwrap() / said["max_abs_diff_over_std"].as_f64().unwrap();

    assert_eq!(off_by((0.5e-3 * std) as f32, &[]).0, Some(0));
    assert_eq!(off_by((2e-3 * std) as f32, &[]).0, Some(1));
    let (code, said) = off_by((2e-3 * std) as f32, &["--tolerance", "0.01"]);
    assert_eq!((code, &said["passed"], &said["tolerance"]), (Some(0), &true.into(), &0.01.into()));
}

#[test]
fn another_networks_weights_do_not_pass() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = narrow_tensors().add("logits/semantic/biases", &[21], &[0.5; 21]);
    let model = Model::of(&tensors.write(&dir.path().join("w.safetensors")), &[]);
    assert_eq!(model.verify(&narrow_reference(), &[]).0, Some(1));
    // The same weights at another output stride or other atrous rates differ, too.
    assert_eq!(Model::narrow(&["--output-stride", "8"]).verify(&narrow_reference(), &[]).0, Some(1));
    assert_eq!(Model::narrow(&["--atrous-rates", "5,12,18"]).verify(&narrow_reference(), &[]).0, Some(1));
}

#[test]
fn a_reference_that_does_not_fit_the_network_is_an_error() {
    let model = Model::narrow(&[]);
    let said = model.verify_error(&narrow_reference().remove("input"));
    assert!(said.contains("reference.safetensors: no tensor named `input`"), "{said}");
    let said = model.verify_error(&narrow_reference().add("logits", &[1, 21, 5, 5], &[0.; 21 * 25]));
    assert!(said.contains("[1, 21, 5, 5]") && said.contains("[1, 21, 129, 129]"), "{said}");
    assert!(model.verify_error(&narrow_reference().add("input", &[3, 5, 5], &[0.; 75])).contains("[N, 3, H, W]"));
}

#[test]
fn a_folder_without_a_model_cannot_be_verified() {
    let dir = tempfile::tempdir().unwrap();
    let file = narrow_reference().write(&dir.path().join("reference.safetensors"));
    let said = error(["verify".as_ref(), dir.path().as_os_str(), "--reference".as_ref(), file.as_os_str()]);
    assert!(said.contains("config.json"), "{said}");
}

// ---- what the file cannot tell ----

#[test]
fn the_output_stride_scales_the_rates_that_are_not_told() {
    let at = |stride| Model::narrow(&["--output-stride", stride]).network();
    for (stride, rates) in [("8", [12, 24, 36]), ("16", [6, 12, 18]), ("32", [3, 6, 9])] {
        let network = at(stride);
        assert_eq!(network["output_stride"].to_string(), stride);
        assert_eq!(network["aspp"]["rates"], serde_json::json!(rates));
    }
}

#[test]
fn atrous_rates_are_taken_as_told() {
    let model = Model::narrow(&["--output-stride", "8", "--atrous-rates", "1,2,3"]);
    assert_eq!(model.network()["aspp"]["rates"], serde_json::json!([1, 2, 3]));
    assert!(line(&model.report, "atrous rates").ends_with("--atrous-rates"), "{}", model.report);
    // One rate for each branch.
    let said = flags_refused(&["--atrous-rates", "6,12"]);
    assert!(said.contains("--atrous-rates: 2 rates for the 3 atrous branches"), "{said}");
}

#[test]
fn multi_grid_is_taken_as_told() {
    assert_eq!(Model::narrow(&[]).network()["multi_grid"], serde_json::json!([1, 1, 1]));
    assert_eq!(Model::narrow(&["--multi-grid", "1,2,4"]).network()["multi_grid"], serde_json::json!([1, 2, 4]));
    let said = run(["convert", "x", "--out", "y", "--multi-grid", "1,2"]);
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8(said.stderr).unwrap().contains("three numbers, such as 1,2,4"));
}

/// The error for invalid options; nothing is written.
fn flags_refused(flags: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let said = refused_into(&narrow(), &dir.path().join("model"), flags);
    assert_eq!(names_in(dir.path()), [""; 0], "{flags:?}");
    said
}

#[test]
fn numbers_that_no_network_has_are_refused() {
    for stride in ["0", "12", "64"] {
        assert!(flags_refused(&["--output-stride", stride]).contains("must be 8, 16 or 32"));
    }
    for flag in ["--atrous-rates", "--multi-grid"] {
        for numbers in ["0,1,2", "1,2,18446744073709551615"] {
            assert!(flags_refused(&[flag, numbers]).contains("must be between 1 and 1024"));
        }
    }
}

#[test]
fn sizes_that_no_image_has_are_refused() {
    for size in ["0x513", "513x99999999"] {
        flags_refused(&["--input-size", size]);
    }
}

#[test]
fn classes_are_called_what_the_labels_say() {
    let labels = |flags: &[&str]| Model::narrow(flags).config()["labels"].clone();
    // 21 classes are taken for VOC's.
    assert_eq!(labels(&[]), labels(&["--labels", "voc"]));
    assert_eq!(labels(&[])["names"][15], "person");

    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..21).map(|class| format!("thing {class}")).collect();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for path in [file("things.txt", &names.join("\n")), file("things.json", &serde_json::to_string(&names).unwrap())] {
        let labels = labels(&["--labels", &path]);
        assert_eq!((&labels["names"], &labels["dataset"]), (&serde_json::json!(names), &"things".into()));
    }
}

#[test]
fn labels_of_another_number_of_classes_are_refused() {
    let cityscapes = flags_refused(&["--labels", "cityscapes"]);
    assert!(cityscapes.contains("19 names") && cityscapes.contains("21 classes"), "{cityscapes}");
    assert!(flags_refused(&["--labels", "no/such/file.txt"]).contains("no/such/file.txt"));
    let misspelt = flags_refused(&["--labels", "vocc"]);
    assert!(misspelt.contains("`vocc` is neither a file nor one of voc, cityscapes"), "{misspelt}");
}

#[test]
fn an_unknown_number_of_classes_gets_numbers_for_names() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = narrow_tensors().add("logits/semantic/weights", &[1, 1, 16, 2], &[0.5; 32]).add(
        "logits/semantic/biases",
        &[2],
        &[0.; 2],
    );
    let model = Model::of(&tensors.write(&dir.path().join("w.safetensors")), &[]);
    assert_eq!(model.config()["labels"]["names"], serde_json::json!(["class 0", "class 1"]));
    assert!(line(&model.report, "labels").contains("name them with --labels"), "{}", model.report);
}

#[test]
fn the_input_size_is_taken_as_told() {
    let size = |flags: &[&str]| {
        let config = Model::narrow(flags).config();
        let size = &config["preprocessing"]["size"];
        (size["height"].clone(), size["width"].clone())
    };
    assert_eq!(size(&[]), (513.into(), 513.into()));
    assert_eq!(size(&["--input-size", "257x385"]), (257.into(), 385.into()));
    let said = run(["convert", "x", "--out", "y", "--input-size", "257"]);
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8(said.stderr).unwrap().contains("height x width, such as 513x513"));
}

// ---- where it is written ----

#[test]
fn a_model_is_replaced_only_when_asked() {
    let model = Model::narrow(&[]);
    let before = (model.weights(), model.config());
    let said = refused_into(&narrow(), &model.path(), &["--output-stride", "8"]);
    assert!(said.contains("model.safetensors: already exists") && said.contains("--force"), "{said}");
    assert_eq!((model.weights(), model.config()), before);
    convert(&narrow(), &model.path(), &["--output-stride", "8", "--force"]);
    assert_eq!(model.network()["output_stride"], 8);
    assert_eq!(names_in(&model.path()), FILES);
}

/// Training that went wrong leaves such weights. They are written only where somebody insists, and then it is said.
#[test]
fn weights_that_are_not_finite_are_refused_unless_forced() {
    const BIAS: &str = "logits/semantic/biases";
    for (value, shape) in [(f32::NAN, [21]), (f32::INFINITY, [21])] {
        let dir = tempfile::tempdir().unwrap();
        let (file, out) = (dir.path().join("w.safetensors"), dir.path().join("model"));
        narrow_tensors().add(BIAS, &shape, &[value; 21]).write(&file);
        let said = refused_into(&file, &out, &[]);
        let parts = ["w.safetensors", BIAS, "21 values that are NaN or infinite", "--force"];
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        assert!(!out.exists());
        let report = convert(&file, &out, &["--force"]);
        assert!(report.contains("WARNING: NaN or infinite") && report.contains(BIAS), "{report}");
    }
}

#[test]
fn what_a_crashed_run_left_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    std::fs::create_dir(&out).unwrap();
    let left = std::fs::File::create(out.join(".a1B2c3.incomplete")).unwrap();
    left.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(7200)).unwrap();
    convert(&narrow(), &out, &[]);
    assert_eq!(names_in(&out), FILES);
}

#[test]
fn a_failure_leaves_the_model_that_was_there() {
    let model = Model::narrow(&[]);
    let before = (model.weights(), model.config());
    let damaged = converter::copy(&narrow());
    change(&damaged.path().join("model.ckpt.data-00000-of-00001"), |data| data[1000] ^= 1);
    refused_into(damaged.path(), &model.path(), &["--force"]);
    assert_eq!((model.weights(), model.config()), before);
    assert_eq!(names_in(&model.path()), FILES);
}

#[cfg(unix)]
#[test]
fn weights_that_cannot_be_replaced_keep_their_recipe() {
    let model = Model::narrow(&[]);
    let weights = model.path().join("model.safetensors");
    let bare = narrow_tensors().write(&model.dir.path().join("w.safetensors"));
    let told = "model.safetensors: exists and is not a regular file";
    let config = model.config();
    std::fs::remove_file(&weights).unwrap();
    std::os::unix::fs::symlink("/dev/null", &weights).unwrap();
    let said = refused_into(&bare, &model.path(), &["--force"]);
    assert!(said.contains(told), "{said}");
    assert_eq!(model.config(), config);
    assert_eq!(names_in(&model.path()), FILES);
}

#[test]
fn a_readme_that_is_there_is_kept_unless_it_may_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("README.md"), "mine").unwrap();
    let said = refused_into(&narrow(), dir.path(), &[]);
    assert!(said.contains("README.md: already exists") && said.contains("--force"), "{said}");
    assert_eq!(names_in(dir.path()), ["README.md"]);
    assert_eq!(std::fs::read(dir.path().join("README.md")).unwrap(), b"mine");
    convert(&narrow(), dir.path(), &["--force"]);
    assert_eq!(names_in(dir.path()), FILES);
}

#[test]
fn other_files_in_the_folder_stay() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    convert(&narrow(), dir.path(), &[]);
    assert_eq!(names_in(dir.path()), ["README.md", "config.json", "model.safetensors", "notes.txt"]);
}

#[test]
fn the_folder_is_made_with_those_above_it() {
    let dir = tempfile::tempdir().unwrap();
    convert(&narrow(), &dir.path().join("models/deeplab/narrow"), &[]);
    assert_eq!(names_in(&dir.path().join("models/deeplab/narrow")), FILES);
}

// ---- inspect ----

#[test]
fn inspect_lists_names_types_and_shapes() {
    let output = run(["inspect".as_ref(), narrow().as_os_str()]);
    assert!(output.status.success() && output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    let columns = |name| line(&text, name).split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
    assert_eq!(columns("logits/semantic/weights "), "float32 [1, 1, 16, 21]");
    assert_eq!(columns("global_step"), "int64 []");
    assert!(text.ends_with("model.ckpt: TensorFlow V2 checkpoint, 1173 tensors\n"));
    assert_eq!(text.lines().count(), 1174);
}

/// The output of `inspect` for a file with one tensor of this name, as text and as JSON.
fn inspected(name: &str) -> (String, Value) {
    let dir = tempfile::tempdir().unwrap();
    let file = Tensors::default().add(name, &[1], &[1.0]).write(&dir.path().join("m.safetensors"));
    let said = |flags: &[&str]| {
        let output = run([&["inspect", file.to_str().unwrap()], flags].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    (said(&[]), json(&said(&["--json"])))
}

#[test]
fn of_a_long_name_inspect_shows_the_ends_and_json_has_all() {
    for letters in [121, 200, 65_535, 65_536, 200_000] {
        let name = "begin/".to_owned() + &"x".repeat(letters - 10) + "/end";
        let (text, file) = inspected(&name);
        let row = text.lines().next().unwrap();
        assert!(row.starts_with("begin/xxx") && row.contains("x…x") && row.contains("xxx/end  float32"), "{row}");
        assert!(row.chars().count() < 150, "{row}");
        assert_eq!(file["tensors"][0]["name"], *name);
    }
    let name = "x".repeat(120);
    assert!(inspected(&name).0.starts_with(&format!("{name}  float32")));
}

#[test]
fn a_name_does_not_drive_the_terminal() {
    let (text, file) = inspected("\x1b[2Jit's");
    assert!(text.starts_with("\\u{1b}[2Jit's  float32"), "{text:?}");
    assert_eq!(file["tensors"][0]["name"], "\x1b[2Jit's");
}

#[test]
fn of_long_names_a_report_shows_the_ends_and_json_has_all() {
    let long = "unknown/".to_owned() + &"y".repeat(70_000);
    let dir = tempfile::tempdir().unwrap();
    let file = narrow_tensors().add(&long, &[1], &[1.0]).write(&dir.path().join("m.safetensors"));
    let text = Model::of(&file, &["--no-strict"]).report;
    let row = line(&text, "unexpected");
    assert!(row.contains("unknown/yyy") && row.contains("y…y") && row.chars().count() < 100, "{row}");
    let report = json(&Model::of(&file, &["--no-strict", "--json"]).report);
    assert_eq!(report["unexpected"]["names"][0], *long);
    // The error shortens a name of 70,000 characters.
    let said = refused(&file, &[]);
    assert!(said.contains("unknown/yyy") && said.chars().count() < 1000, "{}", said.chars().count());
}

#[test]
fn inspect_writes_a_line_of_json_when_asked() {
    let output = run(["inspect".as_ref(), kept("dtypes").as_os_str(), "--json".as_ref()]);
    let file = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(file["format"], "TensorFlow V2 checkpoint");
    let expected: Value = serde_json::from_slice(&std::fs::read(kept("dtypes/expected.json")).unwrap()).unwrap();
    let tensors = file["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), expected.as_object().unwrap().len());
    for tensor in tensors {
        let expected = &expected[tensor["name"].as_str().unwrap()];
        assert_eq!((&tensor["dtype"], &tensor["shape"]), (&expected["dtype"], &expected["shape"]), "{tensor}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    // More than a pipe's buffer, so that the program is still writing when its reader goes away.
    let mut child = Command::new(env!("CARGO_BIN_EXE_weights-convert"))
        .args(["inspect".as_ref(), narrow().as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

// ---- a published model ----

#[test]
fn a_published_tflite_model_computes_what_tflite_computed() {
    let Some(file) = shared("real/deeplabv3_257_mv_gpu.tflite") else { return };
    let model = Model::of(&file, &[]);
    assert_eq!(["used", "transposed", "unused"].map(|row| count(&model.report, row)), [110, 55, 0], "{}", model.report);
    assert!(line(&model.report, "output stride").contains("8"), "{}", model.report);
    assert_eq!(model.network()["output_stride"], 8);
    for photo in ["bird_segmentation", "grace_hopper"] {
        let Some(golden) = shared(&format!("real/golden/mobilenetv2_dm05_voc_257__{photo}.safetensors")) else {
            return;
        };
        let golden = Golden::open(&golden);
        let input = (golden.nchw("image_u8").to_dtype(candle_core::DType::F32).unwrap() / 127.5).unwrap();
        // Every eighth of the logits at the input's size. Since corners are aligned, these are the head's own values.
        let reference = reference(&(input - 1.0).unwrap(), &golden.nchw("logits_every8"));
        let (code, said) = model.verify(&reference, &["--tolerance", "1e-4", "--json"]);
        assert_eq!((code, json(&said)["mask_agreement"].as_f64()), (Some(0), Some(1.0)), "{photo}: {said}");
    }
}

#[test]
fn help_and_wrong_arguments_are_told_apart() {
    assert!(run(["--help"]).status.success());
    for args in [&["convert", "x"][..], &["inspect"], &["verify", "x"], &["unknown"], &["convert", "x", "--out"]] {
        assert_eq!(run(args).status.code(), Some(2), "{args:?}");
    }
    assert!(refused(Path::new("no/such/model.ckpt"), &[]).contains("no such file, folder or checkpoint"));
}

#[test]
fn a_model_is_never_written_over_the_file_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let source = Tensors::of_checkpoint(&narrow()).write(&dir.path().join("model.safetensors"));
    let before = std::fs::read(&source).unwrap();
    let said = refused_into(&source, dir.path(), &["--force"]);
    assert!(said.contains("is the file to convert"), "{said}");
    assert!(std::fs::read(&source).unwrap() == before);
    assert_eq!(names_in(dir.path()), ["model.safetensors"]);
}
