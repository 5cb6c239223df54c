//! Tests of files from PyTorch's code bases: their own wrappers, averaged weights, prefixes, and what training leaves
//! beside the weights.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "support/converter.rs"]
mod converter;
#[allow(dead_code)] // each test uses its part
#[path = "support/hash.rs"]
mod hash;
#[path = "../weights-convert/tests/read_support/mod.rs"]
mod read_support;
#[path = "support/torch_networks.rs"]
mod torch_networks;

use std::path::{Path, PathBuf};

use candle_core::{Device, Module, Tensor};
use candle_deeplab::DeepLab;
use candle_deeplab::arch::AUXILIARY;
use converter::{Tensors, convert, refused, run};
use read_support::torch::Pickle;
use serde_json::Value;
use tempfile::TempDir;
use torch_networks::{Names, Saved};

/// The weights and the recipe that a file converts to, and the report.
fn converted(file: &Path, flags: &[&str]) -> (Vec<u8>, Value, Value) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let report = convert(file, &out, &[flags, &["--json"]].concat());
    let read = |name: &str| std::fs::read(out.join(name)).unwrap();
    (
        read("model.safetensors"),
        serde_json::from_slice(&read("config.json")).unwrap(),
        serde_json::from_str(&report).unwrap(),
    )
}

/// A decision of the report.
fn decision<'a>(report: &'a Value, what: &str) -> &'a Value {
    let decisions = report["decisions"].as_array().unwrap();
    decisions.iter().find(|d| d["what"] == what).unwrap_or_else(|| panic!("no {what}: {report}"))
}

/// Checks that a file has the family's network: the same weights and recipe as a safetensors file with these names.
/// Returns the report.
fn is_the_same_as(file: &Path, names: &Names, family: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let (weights, config, report) = converted(file, &[]);
    let (bare, bare_config, _) = converted(&names.safetensors(&dir.path().join("bare.safetensors")), &[]);
    assert!(weights == bare);
    assert_eq!(config["network"], bare_config["network"]);
    assert_eq!(config["provenance"]["family"], family);
    assert_eq!(decision(&report, "family")["value"], family);
    report
}

fn place(name: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    (dir, path)
}

/// `numpy.float64(0.78)`; VainF and jfzhang95 store their best score as such a value.
fn score(pickle: Pickle) -> Pickle {
    let dtype =
        pickle.global("numpy.core.multiarray", "scalar").global("numpy", "dtype").str("f8").op(b"\x89\x88\x87R");
    dtype.global("_codecs", "encode").str("\u{0}\u{1}").str("latin1").op(b"\x86R\x86R")
}

// ---- each code base's own wrapper ----

#[test]
fn vainfs_checkpoint() {
    let (_dir, path) = place("best_deeplabv3plus_resnet101_voc_os16.pth");
    let (names, mut saved) = (Names::vainf(), Saved::default());
    let pickle = Pickle::new().op(b"}(").str("cur_itrs").int(30000).str("model_state");
    let pickle = saved.state(pickle, &names.tensors()).str("optimizer_state").op(b"}").str("best_score");
    let file = saved.zip(score(pickle).op(b"u"), &path);
    let report = is_the_same_as(&file, &names, "vainf");
    assert_eq!(decision(&report, "weights")["value"], "model_state");
    assert_eq!(report["unexpected"]["count"], 0);
}

#[test]
fn jfzhangs_checkpoint_of_the_legacy_format() {
    let (_dir, path) = place("deeplab-resnet.pth.tar");
    let (names, mut saved) = (Names::jfzhang(), Saved::default());
    let pickle = Pickle::new().op(b"}(").str("epoch").int(50).str("state_dict");
    let pickle = saved.state(pickle, &names.tensors()).str("optimizer").op(b"}").str("best_pred");
    let file = saved.legacy(score(pickle).op(b"u"), &path);
    let report = is_the_same_as(&file, &names, "jfzhang");
    assert_eq!(decision(&report, "weights")["value"], "state_dict");
    assert_eq!(report["format"], "PyTorch checkpoint of the legacy format");
}

/// What mmengine stores about the training: `{"loss": HistoryBuffer(…), …}` with numpy arrays and method names.
fn message_hub(pickle: Pickle) -> Pickle {
    let array = |p: Pickle| {
        let empty = p.global("numpy.core.multiarray", "_reconstruct").global("numpy", "ndarray");
        empty
            .op(b"K\x00\x85")
            .str("b")
            .op(b"\x87R(K\x01K\x03\x85")
            .global("numpy", "dtype")
            .str("f8")
            .op(b"\x89\x88\x87R\x89N\x74b")
    };
    let history = pickle.op(b"}").str("train/loss").global("mmengine.logging.history_buffer", "HistoryBuffer");
    let history = array(history.op(b")\x81}(").str("_log_history")).str("_statistics_methods").op(b"}").str("min");
    history
        .global("__builtin__", "getattr")
        .global("mmengine.logging.history_buffer", "HistoryBuffer")
        .str("min")
        .op(b"\x86Rsubs")
}

#[test]
fn mmsegmentations_training_checkpoint() {
    let (_dir, path) = place("iter_80000.pth");
    let (names, mut saved) = (Names::mmseg(), Saved::default());
    let pickle = Pickle::new().op(b"}(").str("meta").op(b"}").str("CLASSES").op(b")s").str("state_dict");
    let pickle = message_hub(saved.state(pickle, &names.tensors()).str("message_hub"));
    let file = saved.zip(pickle.op(b"u"), &path);
    let report = is_the_same_as(&file, &names, "mmseg");
    assert_eq!(report["left_out"]["auxiliary head"]["count"], 7);
}

// ---- the auxiliary head ----

/// The model of a network's file with its auxiliary head, and the model without it.
fn with_auxiliary(names: &Names) -> [DeepLab; 2] {
    let (dir, path) = place("weights.safetensors");
    let file = names.safetensors(&path);
    [&["--keep-auxiliary"][..], &[]].map(|flags| {
        let out = dir.path().join(format!("model{}", flags.len()));
        convert(&file, &out, flags);
        DeepLab::load(&out, &Device::Cpu).unwrap()
    })
}

#[test]
fn an_auxiliary_head_is_kept_when_asked_and_the_answer_stays_the_same() {
    for names in [Names::torchvision(), Names::mmseg()] {
        let [kept, without] = with_auxiliary(&names);
        assert_eq!(without.config().network.auxiliary, None);
        let auxiliary = kept.config().network.auxiliary.as_ref().unwrap();
        assert_eq!((auxiliary.tap.as_str(), &auxiliary.widths[..]), ("block3", &[6][..]));

        let pixels = Tensor::arange(0f32, 3.0 * 33.0 * 33.0, &Device::Cpu).unwrap();
        let pixels = (pixels.reshape((1, 3, 33, 33)).unwrap() / 3267.0).unwrap();
        let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(kept.forward(&pixels).unwrap()), values(without.forward(&pixels).unwrap()));
        assert_eq!(kept.graph().summary(33, 33).unwrap().macs, without.graph().summary(33, 33).unwrap().macs);

        let [features, logits] = &kept.taps(&pixels, &["backbone.block3", AUXILIARY]).unwrap()[..] else { panic!() };
        // The auxiliary head works at the resolution of the third block, an eighth of 33.
        assert_eq!((features.dims(), logits.dims()), (&[1, 24, 5, 5][..], &[1, 21, 5, 5][..]));
        assert!(matches!(without.taps(&pixels, &[AUXILIARY]), Err(candle_deeplab::Error::NoSuchTap { .. })));
    }
}

#[test]
fn an_auxiliary_head_is_left_out_and_the_report_says_so() {
    let (_dir, path) = place("weights.safetensors");
    let (_, config, report) = converted(&Names::torchvision().safetensors(&path), &[]);
    assert!(config["network"].get("auxiliary").is_none());
    assert_eq!(report["left_out"]["auxiliary head"]["count"], 7);
    assert!(decision(&report, "auxiliary head")["because"].as_str().unwrap().contains("--keep-auxiliary keeps it"));
    let (_, _, report) = converted(&path, &["--keep-auxiliary"]);
    assert_eq!(report["left_out"], serde_json::json!({}));
}

#[test]
fn an_auxiliary_head_that_is_not_there_or_not_whole_is_an_error() {
    let (_dir, path) = place("weights.safetensors");
    let said = refused_flag(&Names::vainf().safetensors(&path), &["--keep-auxiliary"]);
    assert!(said.contains("--keep-auxiliary: the file has no auxiliary head"), "{said}");
    for missing in ["aux_classifier.0.weight", "aux_classifier.1.bias", "aux_classifier.4.bias"] {
        let file = Names::torchvision().tensors().remove(missing).write(&path);
        assert!(refused(&file, &["--keep-auxiliary"]).contains(missing), "{missing}");
        converted(&file, &[]);
    }
}

/// The error about an option, which does not name a file.
fn refused_flag(file: &Path, flags: &[&str]) -> String {
    let (dir, out) = place("model");
    let said = converter::refused_into(file, &out, flags);
    assert_eq!(converter::names_in(dir.path()), [""; 0]);
    said
}

// ---- which weights ----

/// Writes a file with plain and averaged weights, as torchvision's training scripts do: the averages are below
/// `module.` and have a counter.
fn with_averages(path: &Path) -> PathBuf {
    let mut saved = Saved::default();
    let averaged = Names::torchvision().below("module.").and("n_averaged", &[]);
    let pickle = saved.state(Pickle::new().op(b"}(").str("model"), &Names::torchvision().tensors());
    let pickle = saved.state(pickle.str("model_ema"), &averaged.tensors());
    saved.zip(pickle.str("epoch").int(9).op(b"u"), path)
}

#[test]
fn plain_weights_are_taken_before_averaged_ones_and_the_report_says_so() {
    let (_dir, path) = place("checkpoint.pth");
    let report = is_the_same_as(&with_averages(&path), &Names::torchvision(), "torchvision");
    let weights = decision(&report, "weights");
    assert_eq!(weights["value"], "model");
    assert!(weights["because"].as_str().unwrap().contains("other weights, not read: model_ema"), "{weights}");
}

#[test]
fn averaged_weights_are_taken_when_asked() {
    let (_dir, path) = place("checkpoint.pth");
    let (weights, _, report) = converted(&with_averages(&path), &["--state", "model_ema"]);
    assert_eq!(decision(&report, "weights")["value"], "model_ema");
    assert!(decision(&report, "weights")["because"].as_str().unwrap().starts_with("--state"));
    assert_eq!(decision(&report, "prefix")["value"], "`module.` taken off");
    assert_eq!(report["left_out"]["training state"]["names"], serde_json::json!(["n_averaged"]));
    // Hash weights depend on their names, so the averaged ones differ.
    assert!(weights != converted(&with_averages(&path), &[]).0);
    // `inspect` has the same option.
    let listed = run(["inspect".as_ref(), path.as_os_str(), "--state".as_ref(), "model_ema".as_ref()]);
    assert!(String::from_utf8(listed.stdout).unwrap().contains("n_averaged"));
}

#[test]
fn a_state_that_is_not_there_is_an_error_that_lists_those_that_are() {
    let (_dir, path) = place("checkpoint.pth");
    let said = refused(&with_averages(&path), &["--state", "ema"]);
    assert!(said.contains("no weights are called `ema` in it; it has model, model_ema"), "{said}");
    let bare = Names::torchvision().safetensors(&path.with_extension("safetensors"));
    assert!(refused(&bare, &["--state", "ema"]).contains("it has one set of weights only"));
}

#[test]
fn lightnings_prefix_is_taken_off_and_its_loss_is_no_part_of_the_network() {
    let (_dir, path) = place("last.ckpt");
    let (names, mut saved) = (Names::vainf(), Saved::default());
    let state = with_values_of(names.tensors(), "model.");
    let state = state.add("criterion.weight", &[21], &[1.; 21]);
    let pickle = saved.state(Pickle::new().op(b"}(").str("epoch").int(3).str("state_dict"), &state);
    let file = saved.zip(pickle.op(b"u"), &path);
    let (weights, _, report) = converted(&file, &[]);
    assert_eq!(decision(&report, "prefix")["value"], "`model.` taken off");
    let training = report["left_out"]["training state"]["names"].as_array().unwrap();
    assert!(training.contains(&"criterion.weight".into()), "{training:?}");
    assert!(weights == converted(&names.safetensors(&path.with_extension("safetensors")), &[]).0);
}

/// The same tensors with a prefix before their names.
fn with_values_of(tensors: Tensors, prefix: &str) -> Tensors {
    Tensors(tensors.0.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect())
}
