//! Tests of `candle-deeplab bench` from the command line. They do not test how fast anything is.

#![allow(clippy::unwrap_used)]

#[path = "support/program.rs"]
mod program;
mod support;

use candle_deeplab::Precision;
use candle_deeplab::exec::Isa;
use program::{json, model, refused, success};
use serde_json::Value;
use support::shared::kept;

/// The arguments of a benchmark of the small model: three runs at 33×41.
fn bench<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["bench", "--model", model(), "--size", "33x41", "--runs", "3"], more].concat()
}

/// The executor that runs by default.
fn usual() -> String {
    Isa::detect_for(Precision::F32).map_or("eager".into(), |isa| isa.to_string())
}

#[test]
fn json_has_all_figures() {
    let dir = tempfile::tempdir().unwrap();
    let found = json(dir.path(), &bench(&["--threads", "2", "--batch", "2", "--json"]));
    let object = found.as_object().unwrap();
    for (key, value) in [
        ("model", Value::from(model())),
        ("output_stride", 16.into()),
        ("executor", usual().into()),
        ("dtype", "f32".into()),
        ("size", vec![33, 41].into()),
        ("batch", 2.into()),
        ("threads", 2.into()),
        ("runs", 3.into()),
    ] {
        assert_eq!(object[key], value, "{key}");
    }
    for key in ["median_ms", "min_ms", "p90_ms", "cold_start_ms", "gmac", "gflops", "peak_gflops"] {
        assert!(object[key].as_f64().unwrap() > 0.0, "{key}: {found}");
    }
    let [min, median, p90] = ["min_ms", "median_ms", "p90_ms"].map(|key| object[key].as_f64().unwrap());
    assert!(min <= median && median <= p90, "{found}");
    assert!(object.contains_key("peak_rss_mib") && !object.contains_key("layers"));
}

#[test]
fn text_names_the_model_and_what_ran() {
    let dir = tempfile::tempdir().unwrap();
    let said = success(dir.path(), &bench(&[]));
    assert!(said.starts_with(&format!("{} at output stride 16\n1×33×41, {}, f32, ", model(), usual())), "{said}");
    assert!(said.contains("median ") && said.contains("\ncold start ") && said.contains(" GFLOP/s"), "{said}");
}

#[test]
fn the_usual_size_is_the_models_own() {
    let dir = tempfile::tempdir().unwrap();
    let found = json(dir.path(), &["bench", "--model", model(), "--runs", "1", "--output-stride", "8", "--json"]);
    assert_eq!((&found["size"], &found["output_stride"]), (&vec![513, 513].into(), &8.into()));
    let coarser = json(dir.path(), &["bench", "--model", model(), "--runs", "1", "--json"]);
    assert!(found["gmac"].as_f64() > coarser["gmac"].as_f64());
}

/// All executors of this machine find nearly the same classes.
#[test]
fn each_executor_says_that_it_ran_and_saves_its_mask() {
    let dir = tempfile::tempdir().unwrap();
    let mask = |executor: &str, dtype: &str| {
        let file = format!("{executor}-{dtype}.mask");
        let args = ["--executor", executor, "--dtype", dtype, "--save-mask", &file, "--json", "--batch", "2"];
        let found = json(dir.path(), &bench(&args));
        assert_eq!((&found["executor"], &found["dtype"]), (&executor.into(), &dtype.into()));
        std::fs::read(dir.path().join(file)).unwrap()
    };
    let alike = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| a == b).count();
    let reference = mask("eager", "f32");
    assert_eq!(reference.len(), 2 * 33 * 41);
    assert!(reference.iter().all(|class| *class < 21));
    for isa in Isa::available() {
        let found = mask(&isa.to_string(), "f32");
        assert!(found.len() == reference.len() && alike(&found, &reference) >= reference.len() * 99 / 100, "{isa}");
    }
    // With random weights the best two classes are close to each other.
    let rounded = mask("portable", "bf16");
    assert!(rounded.len() == reference.len() && alike(&rounded, &reference) >= reference.len() / 2);
    let fastest = json(dir.path(), &bench(&["--executor", "cpu", "--json"]));
    assert_eq!(fastest["executor"], Isa::detect().to_string());
}

#[test]
fn layers_are_those_of_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let of = |dtype: &str| {
        let args = ["--layers", "--executor", "portable", "--dtype", dtype, "--json"];
        let found = json(dir.path(), &bench(&args));
        let layers = found["layers"].as_array().unwrap().clone();
        for layer in &layers {
            assert!(layer["path"].is_string() && layer["kernel"].is_string() && layer["ms"].is_number(), "{layer}");
        }
        let gmac: f64 = layers.iter().map(|layer| layer["gmac"].as_f64().unwrap()).sum();
        assert!((gmac / found["gmac"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{dtype}: {gmac}, {}", found["gmac"]);
        layers.len()
    };
    assert_eq!(of("f32"), of("bf16"));
    let said = success(dir.path(), &bench(&["--layers", "--executor", "portable"]));
    assert!(said.lines().count() > of("f32"), "{said}");
}

/// The model does not exist, but the arguments are checked first and the errors do not mention it.
#[test]
fn what_cannot_be_done_is_refused_before_the_model_is_fetched() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("there.mask"), "mine").unwrap();
    for (args, reason) in [
        (&["--dtype", "f16"][..], "f16"),
        (&["--dtype", "bf16", "--executor", "eager"], "candle's operations compute in f32"),
        (&["--dtype", "bf16", "--executor", "avx2"], "avx2"),
        (&["--layers", "--executor", "eager"], "`--layers`"),
        (&["--save-mask", "there.mask"], "`there.mask` exists: replace it with `--force`"),
        (&["--save-mask", "no/mask"], "`no` does not exist"),
        (&["--save-mask", "."], "is a folder"),
        (&["--size", "16384x16384", "--batch", "4096"], "choose a smaller `--size` or `--batch`"),
        (&["--runs", "9223372036854775807"], "from 1 to 1000000"),
        (&["--batch", "0"], "from 1 to 4096"),
        (&["--threads", "18446744073709551615"], "from 1 to 4096"),
        (&["--output-stride", "7"], "8, 16 or 32"),
        (&["--force"], "--save-mask"),
    ] {
        let said = refused(dir.path(), &[&["bench", "--model", "no-such-model"], args].concat());
        assert!(said.contains(reason) && !said.contains("no-such-model"), "{args:?}: {said}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("there.mask")).unwrap(), "mine");
}

/// If the CPU lacks the instructions, the error names them and says what to choose instead.
#[test]
fn bf16_runs_or_says_what_the_cpu_lacks() {
    let dir = tempfile::tempdir().unwrap();
    match Isa::detect_for(Precision::Bf16) {
        Ok(isa) => {
            let found = json(dir.path(), &bench(&["--dtype", "bf16", "--json"]));
            assert_eq!((&found["executor"], &found["dtype"]), (&isa.to_string().into(), &"bf16".into()));
        }
        Err(_) => {
            for more in [&[][..], &["--executor", "cpu"]] {
                let said = refused(dir.path(), &bench(&[&["--dtype", "bf16"], more].concat()));
                assert!(said.contains("lacks") && said.contains("AVX512_BF16") && said.contains("--executor portable"));
                assert!(!said.contains("Executor::"), "{said}");
            }
        }
    }
    for isa in [Isa::Avx512, Isa::Avx2].into_iter().filter(|isa| !isa.is_available()) {
        let said = refused(dir.path(), &bench(&["--executor", &isa.to_string()]));
        assert!(said.contains(&format!("has no {isa}")), "{said}");
    }
}

#[test]
fn a_mask_is_replaced_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("there.mask"), "mine").unwrap();
    success(dir.path(), &bench(&["--save-mask", "there.mask", "--force"]));
    assert_eq!(std::fs::read(dir.path().join("there.mask")).unwrap().len(), 33 * 41);
}

/// The cold start is not reported if its time includes a download or a conversion.
#[test]
fn the_cold_start_of_a_model_that_is_converted_first_is_not_said() {
    let dir = tempfile::tempdir().unwrap();
    let graph = kept("xception65_narrow/frozen_inference_graph.pb");
    let args = ["bench", "--size", "33x33", "--runs", "1", "--model", graph.to_str().unwrap()];
    let said = success(dir.path(), &args);
    assert!(said.contains("cold start not measured"), "{said}");
    let again = json(dir.path(), &[&args[..], &["--json"]].concat());
    assert!(again["cold_start_ms"].as_f64().unwrap() > 0.0, "{again}");
}
