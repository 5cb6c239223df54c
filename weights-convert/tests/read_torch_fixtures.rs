//! Files that PyTorch wrote, and broken and hostile ones, against what expected.json says of each.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;
#[allow(dead_code)] // each test uses its part
#[path = "../../tests/support/shared.rs"]
mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use read_support::read_all;
use serde_json::Value;
use shared::shared;
use weights_convert::{Checkpoint, DType, Error, Format, RawTensor};

/// The file that the payloads of the hostile fixtures would make.
const PAYLOAD: &str = "/tmp/PWNED_BY_PICKLE";

fn folder() -> Option<(PathBuf, BTreeMap<String, Value>)> {
    let folder = shared("reference/tiny/torch")?;
    // Python writes numbers that JSON does not have.
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let text = text.replace("-Infinity", "\"-inf\"").replace(" Infinity", " \"inf\"").replace(" NaN", " \"nan\"");
    Some((folder, serde_json::from_str(&text).unwrap()))
}

/// The fixtures of which expected.json wants this.
fn wanted(want: &str) -> Vec<(PathBuf, Value)> {
    let Some((folder, expected)) = folder() else {
        return Vec::new();
    };
    let cases = expected.into_iter().filter(|(_, case)| case["want"] == want);
    let cases: Vec<_> = cases.map(|(name, case)| (folder.join(name), case)).collect();
    assert!(!cases.is_empty(), "{want}");
    cases
}

/// The bytes that a number of expected.json has in a tensor. All are written as floats.
fn bytes(dtype: DType, value: f64) -> Vec<u8> {
    match dtype {
        DType::F32 => (value as f32).to_le_bytes().to_vec(),
        DType::F64 => value.to_le_bytes().to_vec(),
        DType::F16 => half::f16::from_f64(value).to_le_bytes().to_vec(),
        DType::Bf16 => half::bf16::from_f64(value).to_le_bytes().to_vec(),
        _ => (value as i64).to_le_bytes()[..dtype.size().unwrap()].to_vec(),
    }
}

fn compare(name: &str, raw: &RawTensor, expected: &Value) {
    assert_eq!(raw.dtype.to_string(), expected["tensor"].as_str().unwrap(), "{name}");
    let shape: Vec<usize> = serde_json::from_value(expected["shape"].clone()).unwrap();
    assert_eq!(raw.shape, shape, "{name}");
    let number = |value: &Value| match value {
        Value::String(word) => word.parse().unwrap(),
        other => other.as_f64().unwrap(),
    };
    let values = expected["values"].as_array().unwrap().iter();
    let expected: Vec<u8> = values.flat_map(|value| bytes(raw.dtype, number(value))).collect();
    assert_eq!(raw.data, expected, "{name}");
}

/// Where the state dict stands in a fixture's content, and what stands before its names.
fn state_dict(file: &str) -> &'static str {
    match file {
        f if f.contains("module_prefix") => "/state_dict/module.",
        f if f.contains("jfzhang") || f.contains("mmseg") => "/state_dict/",
        f if f.contains("vainf") => "/model_state/",
        f if f.contains("ema") => "/model/",
        _ => "/",
    }
}

/// All tensors of a file are those of the content below `prefix`, and there are no others.
fn compare_all(path: &Path, content: &Value, prefix: &str) {
    let tensors = read_all(path).unwrap();
    let content = content.as_object().unwrap();
    let expected: BTreeMap<&str, &Value> = (content.iter())
        .filter(|(_, value)| value.get("tensor").is_some())
        .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, value)))
        .collect();
    assert!(tensors.iter().map(|(name, _)| name.as_str()).eq(expected.keys().copied()), "{}", path.display());
    assert!(!expected.is_empty(), "{}", path.display());
    for (name, raw) in &tensors {
        compare(&format!("{}: {name}", path.display()), raw, expected[name.as_str()]);
    }
}

#[test]
fn what_must_load_loads_bit_by_bit() {
    for (path, case) in wanted("load") {
        let file = path.file_name().unwrap().to_str().unwrap();
        compare_all(&path, &case["content"], state_dict(file));
        let format = if file.starts_with("zip") { Format::TorchZip } else { Format::TorchLegacy };
        assert_eq!(Checkpoint::open(&path).unwrap().format(), format, "{file}");
    }
}

#[test]
fn what_is_wrong_is_a_clear_error() {
    for (path, _) in wanted("clear_error") {
        let err = read_all(&path).expect_err("this file must not load").to_string();
        assert!(err.contains(path.file_name().unwrap().to_str().unwrap()), "{err}");
    }
}

#[test]
fn what_is_hostile_is_refused_and_never_run() {
    let cases = wanted("malicious");
    if cases.is_empty() {
        return;
    }
    assert!(!Path::new(PAYLOAD).exists(), "{PAYLOAD} is there already, so nothing can be told");
    for (path, case) in &cases {
        let err = read_all(path).expect_err("this file must not load");
        assert!(!Path::new(PAYLOAD).exists(), "{}: its payload was run", path.display());
        let Error::ForbiddenGlobal { global, .. } = &err else { panic!("{err}") };
        let named = case["pickle_globals"].as_array().unwrap();
        assert!(named.iter().any(|name| name == global.trim_end_matches("()")), "{err}");
    }
}

/// The message of opening a fixture; `None` where the fixtures are not there.
fn message(file: &str) -> Option<String> {
    let (folder, _) = folder()?;
    Some(read_all(&folder.join(file)).unwrap_err().to_string())
}

#[test]
fn the_errors_name_the_tensor_or_the_way_out() {
    for (file, said) in [
        ("torchscript.pt", "TorchScript"),
        ("zip_no_tensors.pth", "its root is a list"),
        ("bad_zip_short_storage.pth", "tensor `conv.weight`: its storage `0` should have 432 bytes, the file has 428"),
        ("bad_legacy_truncated_storage.pth", "fetch the file again"),
        ("bad_legacy_truncated_pickle.pth", "its pickle ends early"),
        ("bad_huge_claim.pth", "should have 4398046511104 bytes, the file has 24"),
        ("bad_long4_claim.pth", "its pickle ends early"),
        ("bad_zip_no_data_pkl.pth", "without a data.pkl"),
        ("bad_zip_truncated_tail.pth", "list of records cannot be read"),
        ("bad_lfs_pointer.pth", "git lfs pull"),
        ("bad_real_tar.pth.tar", "unpack it first"),
        ("bad_random.pth", "not a format this program knows"),
        ("zip_odd_dtypes.pth", "tensor `f8` has the data type `torch.float8_e4m3fn`"),
        ("evil_zip_os_system.pth", "`posix.system`"),
    ] {
        let Some(err) = message(file) else {
            return;
        };
        assert!(err.contains(said), "{err}");
    }
}

#[test]
fn a_whole_module_gives_its_state_dict() {
    let Some((folder, expected)) = folder() else {
        return;
    };
    let file = "zip_whole_module.pth";
    compare_all(&folder.join(file), &expected[file]["content"]["/"]["state_dict"], "/");
}

/// What was decided about a fixture: each decision and its reason.
fn decisions(file: &str) -> Option<Vec<(String, String)>> {
    let (folder, _) = folder()?;
    let checkpoint = Checkpoint::open(&folder.join(file)).unwrap();
    Some(checkpoint.decisions().iter().map(|d| (format!("{}: {}", d.what, d.value), d.because.clone())).collect())
}

#[test]
fn the_wrapper_and_the_prefix_are_told() {
    let Some(plain) = decisions("zip_plain.pth") else {
        return;
    };
    assert_eq!(plain, []);
    let vainf = decisions("legacy_vainf_wrapper.pth").unwrap();
    assert_eq!(vainf[0].0, "weights: model_state");
    assert!(vainf[0].1.contains("VainF") && vainf[0].1.contains("best_score"), "{vainf:?}");
    let module = decisions("zip_module_prefix.pth").unwrap();
    assert_eq!(module[0].0, "weights: state_dict");
    assert_eq!(module[1].0, "prefix: `module.` taken off");
    assert_eq!(module.len(), 2);
}

#[test]
fn of_two_state_dicts_the_choice_is_told() {
    let Some(ema) = decisions("zip_ema.pth") else {
        return;
    };
    assert_eq!(ema[0].0, "weights: model");
    assert!(ema[0].1.ends_with("other weights, not read: model_ema"), "{ema:?}");
}

#[test]
fn the_program_inspects_and_refuses_to_guess_a_network() {
    let Some((folder, _)) = folder() else {
        return;
    };
    let file = folder.join("zip_vainf_wrapper.pth");
    let program = || assert_cmd::Command::new(env!("CARGO_BIN_EXE_weights-convert"));
    let inspected = program().arg("inspect").arg(&file).arg("--json").assert().success();
    let inspected: Value = serde_json::from_slice(&inspected.get_output().stdout).unwrap();
    assert_eq!(inspected["tensors"].as_array().unwrap().len(), 8);
    assert_eq!(inspected["decisions"][0]["value"], "model_state");

    let out = tempfile::tempdir().unwrap();
    let model = out.path().join("model");
    let converted = program().arg("convert").arg(&file).arg("--out").arg(&model).assert().code(2);
    let said = String::from_utf8_lossy(&converted.get_output().stderr).into_owned();
    assert!(said.contains("not a network this program can convert"), "{said}");
    assert!(!model.exists());
}
