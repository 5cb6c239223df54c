//! Tests of folders as on the Hugging Face Hub: transformers' `config.json` and `preprocessor_config.json`, and weights
//! in several files.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "support/converter.rs"]
mod converter;
#[allow(dead_code)]
#[path = "support/golden.rs"]
mod golden;
#[allow(dead_code)] // each test uses its part
#[path = "support/hash.rs"]
mod hash;
#[path = "../weights-convert/tests/read_support/mod.rs"]
mod read_support;
#[allow(dead_code)] // each test uses its part
#[path = "support/shared.rs"]
mod shared;
#[path = "support/torch_networks.rs"]
mod torch_networks;

use std::path::{Path, PathBuf};

use converter::{Tensors, convert, error, names_in, refused, refused_into, run};
use golden::Golden;
use read_support::torch::Pickle;
use serde_json::{Value, json};
use shared::shared;
use tempfile::TempDir;
use torch_networks::{Names, Saved};

/// A folder with a narrow MobileNetV2, as transformers saves it.
struct Folder {
    dir: TempDir,
    config: Value,
    preprocessor: Value,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        narrow().safetensors(&dir.path().join("model.safetensors"));
        Self { dir, config: config(), preprocessor: preprocessor() }
    }

    /// Changes fields of `config.json`.
    fn config(mut self, fields: Value) -> Self {
        merge(&mut self.config, fields);
        self
    }

    fn preprocessor(mut self, fields: Value) -> Self {
        merge(&mut self.preprocessor, fields);
        self
    }

    /// Writes the files and returns the folder.
    fn path(&self) -> &Path {
        self.write("config.json", self.config.to_string());
        self.write("preprocessor_config.json", self.preprocessor.to_string());
        self.dir.path()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.dir.path().join(name), content).unwrap();
    }

    /// The recipe that the folder converts to, and the report.
    fn converted(&self, flags: &[&str]) -> (Value, Value) {
        let out = tempfile::tempdir().unwrap();
        let model = out.path().join("model");
        let report = convert(self.path(), &model, &[flags, &["--json"]].concat());
        let config = std::fs::read(model.join("config.json")).unwrap();
        (serde_json::from_slice(&config).unwrap(), serde_json::from_str(&report).unwrap())
    }

    /// The error for a folder that cannot be converted.
    fn refused(&self) -> String {
        refused(self.path(), &[])
    }
}

fn merge(into: &mut Value, fields: Value) {
    for (key, value) in fields.as_object().unwrap() {
        into[key] = value.clone();
    }
}

fn narrow() -> Names {
    Names::transformers(0.25, 4, 3.0)
}

/// What `save_pretrained` writes, without fields that do not affect the network.
fn config() -> Value {
    let names: serde_json::Map<_, _> =
        (0..21).map(|class| (class.to_string(), json!(format!("LABEL_{class}")))).collect();
    json!({
        "architectures": ["MobileNetV2ForSemanticSegmentation"],
        "classifier_dropout_prob": 0.8, "depth_divisible_by": 4, "depth_multiplier": 0.25, "expand_ratio": 3.0,
        "finegrained_output": true, "first_layer_is_expansion": true, "hidden_act": "relu6", "id2label": names,
        "image_size": 257, "initializer_range": 0.02, "layer_norm_eps": 0.001, "min_depth": 4,
        "model_type": "mobilenet_v2", "num_channels": 3, "output_stride": 8, "semantic_loss_ignore_index": 255,
        "tf_padding": true, "torch_dtype": "float32", "transformers_version": "4.25.1"
    })
}

fn preprocessor() -> Value {
    json!({
        "crop_size": {"height": 257, "width": 257}, "do_center_crop": true, "do_normalize": true, "do_rescale": true,
        "do_resize": true, "image_mean": [0.5, 0.5, 0.5], "image_processor_type": "MobileNetV2ImageProcessor",
        "image_std": [0.5, 0.5, 0.5], "resample": 2, "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": 289}
    })
}

fn decision<'a>(report: &'a Value, what: &str) -> (&'a str, &'a str) {
    let decisions = report["decisions"].as_array().unwrap();
    let found = decisions.iter().find(|d| d["what"] == what).unwrap_or_else(|| panic!("no {what}: {report}"));
    (found["value"].as_str().unwrap(), found["because"].as_str().unwrap())
}

// ---- what the files tell ----

#[test]
fn the_recipe_is_what_the_files_say() {
    let folder = Folder::new().config(json!({"output_stride": 16, "layer_norm_eps": 0.002}));
    let (config, report) = folder.converted(&[]);
    assert_eq!(config["provenance"]["family"], "transformers");
    assert_eq!(config["network"]["output_stride"], 16);
    assert_eq!(config["network"]["backbone"]["batch_norm_eps"], 0.002);
    assert_eq!(config["network"]["aspp"]["batch_norm_eps"], 1e-5);
    assert_eq!(decision(&report, "output stride"), ("16", "config.json"));
    let preprocessing = &config["preprocessing"];
    assert_eq!(preprocessing["size"], json!({"rule": "fit", "height": 257, "width": 257}));
    assert_eq!(preprocessing["filter"], "bilinear");
    assert!(decision(&report, "input").1.contains("crop_size in preprocessor_config.json"));
    for part in ["mean", "std", "pad_value"] {
        let values: Vec<f64> = serde_json::from_value(preprocessing[part].clone()).unwrap();
        assert!(values.iter().all(|value| (value - 127.5).abs() < 1e-4), "{part}: {values:?}");
    }
    // 21 classes without names are taken for VOC's.
    assert_eq!(config["labels"]["dataset"], "voc");
    assert_eq!(report["left_out"]["ImageNet classifier"]["count"], 5);
}

#[test]
fn a_bare_file_has_the_familys_defaults() {
    let folder = Folder::new().config(json!({"output_stride": 16}));
    let out = tempfile::tempdir().unwrap();
    let report = convert(&folder.path().join("model.safetensors"), &out.path().join("model"), &["--json"]);
    let report = serde_json::from_str(&report).unwrap();
    assert_eq!(decision(&report, "output stride").0, "8");
    assert!(decision(&report, "output stride").1.starts_with("not in the file"));
}

#[test]
fn flags_overrule_the_files() {
    let (config, report) =
        Folder::new().converted(&["--output-stride", "32", "--input-size", "129x65", "--labels", "voc"]);
    assert_eq!(config["network"]["output_stride"], 32);
    assert_eq!(config["preprocessing"]["size"], json!({"rule": "fit", "height": 129, "width": 65}));
    for (what, flag) in [("output stride", "--output-stride"), ("input", "--input-size"), ("labels", "--labels")] {
        assert_eq!(decision(&report, what).1, flag);
    }
}

fn names(name: impl Fn(usize) -> String) -> Value {
    (0..21).map(|class| (class.to_string(), json!(name(class)))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn classes_are_called_what_id2label_says() {
    let odd = |class: usize| format!("Thing {class}");
    let folder = Folder::new().config(json!({"id2label": names(odd), "semantic_loss_ignore_index": 7}));
    let (config, report) = folder.converted(&[]);
    assert_eq!(config["labels"]["names"], json!((0..21).map(odd).collect::<Vec<_>>()));
    assert_eq!((&config["labels"]["ignore"], &config["labels"]["background"]), (&json!(7), &Value::Null));
    assert_eq!(decision(&report, "labels").1, "id2label in config.json");
}

#[test]
fn vocs_names_are_vocs_however_they_are_written() {
    let voc = candle_deeplab::Labels::voc();
    let spelled = |class: usize| match voc.names[class].as_str() {
        "tvmonitor" => "tv/monitor".into(),
        "diningtable" => "dining table".into(),
        "background" => "Background".into(),
        other => other.to_owned(),
    };
    let (config, _) = Folder::new().config(json!({"id2label": names(spelled)})).converted(&[]);
    assert_eq!(config["labels"], serde_json::to_value(&voc).unwrap());
}

#[test]
fn pixels_are_what_the_processor_makes_of_them() {
    let preprocessing = |fields: Value| Folder::new().preprocessor(fields).converted(&[]).0["preprocessing"].clone();
    let close = |value: &Value, wanted: [f64; 3]| {
        let values: [f64; 3] = serde_json::from_value(value.clone()).unwrap();
        assert!(values.iter().zip(wanted).all(|(v, w)| (v - w).abs() < 1e-3), "{values:?} {wanted:?}");
    };
    let imagenet = preprocessing(json!({"image_mean": [0.485, 0.456, 0.406], "image_std": 0.25}));
    close(&imagenet["mean"], [123.675, 116.28, 103.53]);
    close(&imagenet["std"], [63.75; 3]);
    let plain = preprocessing(json!({"do_normalize": false}));
    close(&plain["mean"], [0.0; 3]);
    close(&plain["std"], [255.0; 3]);
    let bytes = preprocessing(json!({"do_rescale": false, "image_mean": [10, 20, 30], "image_std": [1, 2, 3]}));
    close(&bytes["mean"], [10.0, 20.0, 30.0]);
    close(&bytes["std"], [1.0, 2.0, 3.0]);
    // (value · 1/127.5 − 0.5) / 0.5
    close(&preprocessing(json!({"rescale_factor": 1.0 / 127.5}))["mean"], [63.75; 3]);
    assert_eq!(preprocessing(json!({"resample": 1}))["filter"], "lanczos");
}

#[test]
fn sizes_are_what_the_processor_makes_of_them() {
    let size = |fields: Value| Folder::new().preprocessor(fields).converted(&[]).0["preprocessing"]["size"].clone();
    let exact = json!({"do_center_crop": false, "size": {"height": 65, "width": 97}});
    assert_eq!(size(exact), json!({"rule": "stretch", "height": 65, "width": 97}));
    let neither = json!({"do_center_crop": false, "do_resize": false});
    assert_eq!(size(neither), json!({"rule": "native", "height": 1, "width": 1}));
    assert_eq!(size(json!({"crop_size": 65})), json!({"rule": "fit", "height": 65, "width": 65}));
    let said = Folder::new().preprocessor(json!({"do_center_crop": false})).refused();
    assert!(said.contains("preprocessor_config.json") && said.contains("--input-size"), "{said}");
}

#[test]
fn without_a_processor_the_size_is_the_configs() {
    let folder = Folder::new();
    folder.path();
    std::fs::remove_file(folder.dir.path().join("preprocessor_config.json")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let report = convert(folder.dir.path(), &out.path().join("model"), &["--json"]);
    let report = serde_json::from_str(&report).unwrap();
    assert_eq!(decision(&report, "input"), ("fit into 257×257", "image_size in config.json; --input-size changes it"));
}

// ---- what does not fit ----

#[test]
fn a_config_that_is_not_these_weights_is_refused() {
    for (fields, said) in [
        (json!({"depth_multiplier": 0.5}), "depth_multiplier 0.5"),
        (json!({"expand_ratio": 6}), "block 2's expansion"),
        (json!({"depth_divisible_by": 8}), "channels of"),
        (json!({"min_depth": 16}), "channels of"),
        (json!({"finegrained_output": false}), "channels of conv_1x1, the weights have 1280"),
        (json!({"model_type": "mobilevit"}), "its model_type is \"mobilevit\""),
        (json!({"tf_padding": false}), "tf_padding is false"),
        (json!({"hidden_act": "relu"}), "hidden_act is \"relu\""),
        (json!({"num_channels": 1}), "num_channels is 1"),
        (json!({"first_layer_is_expansion": false}), "first_layer_is_expansion is false"),
        (json!({"output_stride": 4}), "output_stride is 4"),
        (json!({"layer_norm_eps": -1}), "layer_norm_eps is -1"),
        (json!({"id2label": {"0": "cat", "1": "dog"}}), "id2label has 2 names"),
        (json!({"id2label": names(|class| format!("\u{1b}{class}"))}), "printable"),
    ] {
        let error = Folder::new().config(fields.clone()).refused();
        assert!(error.contains("config.json: ") && error.contains(said), "{fields}: {error}");
    }
}

#[test]
fn numbers_that_no_network_has_are_refused() {
    for fields in [
        json!({"depth_multiplier": 1e300}),
        json!({"depth_multiplier": -1}),
        json!({"expand_ratio": 1e300}),
        json!({"depth_divisible_by": 0, "min_depth": 0}),
        json!({"depth_divisible_by": u64::MAX}),
        json!({"min_depth": u64::MAX}),
    ] {
        assert!(Folder::new().config(fields).refused().contains("config.json: "));
    }
    for fields in [
        json!({"crop_size": 0}),
        json!({"image_std": 0}),
        json!({"rescale_factor": 0}),
        json!({"crop_size": 1u64 << 40}),
    ] {
        Folder::new().preprocessor(fields).refused();
    }
}

#[test]
fn files_that_are_no_configs_are_refused() {
    let with = |name: &str, content: &[u8]| {
        let folder = Folder::new();
        folder.path();
        folder.write(name, content);
        refused(folder.dir.path(), &[])
    };
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let large = [b"{\"x\": \"".to_vec(), vec![b'a'; 1 << 21], b"\"}".to_vec()].concat();
    for name in ["config.json", "preprocessor_config.json"] {
        for content in [&b""[..], b"{", b"[]", b"\xff", b"{\"size\": \"large\", \"image_size\": \"x\"}", &deep, &large]
        {
            let said = with(name, content);
            assert!(said.contains(name), "{said}");
        }
    }
}

#[test]
fn a_folder_is_not_written_over_itself() {
    let folder = Folder::new();
    let before = std::fs::read(folder.path().join("config.json")).unwrap();
    assert!(refused_into(folder.path(), folder.dir.path(), &[]).contains("already exists"));
    for name in ["model.safetensors", "config.json"] {
        let said = refused_into(folder.path(), folder.dir.path(), &["--force"]);
        assert!(said.contains("is the file to convert"), "{name}: {said}");
    }
    assert_eq!(std::fs::read(folder.dir.path().join("config.json")).unwrap(), before);
}

// ---- weights by other names and in several files ----

/// The weights and the recipe's network that a folder converts to.
fn weights(folder: &Path) -> (Vec<u8>, Value) {
    let out = tempfile::tempdir().unwrap();
    let model = out.path().join("model");
    convert(folder, &model, &[]);
    let config: Value = serde_json::from_slice(&std::fs::read(model.join("config.json")).unwrap()).unwrap();
    (std::fs::read(model.join("model.safetensors")).unwrap(), config["network"].clone())
}

/// The narrow network's tensors, split into two parts.
fn halves() -> [Tensors; 2] {
    let head = |name: &str| name.starts_with("segmentation_head.");
    [narrow().tensors().only(|name| !head(name)), narrow().tensors().only(head)]
}

/// A folder with both parts of the weights in files with this extension, and their index.
fn sharded(extension: &str, write: impl Fn(&Tensors, &Path) -> PathBuf) -> Folder {
    let folder = Folder::new();
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let stem = if extension == "bin" { "pytorch_model" } else { "model" };
    let mut map = serde_json::Map::new();
    for (part, tensors) in halves().iter().enumerate() {
        let name = format!("{stem}-{:05}-of-00002.{extension}", part + 1);
        write(tensors, &folder.dir.path().join(&name));
        map.extend(tensors.0.keys().map(|tensor| (tensor.clone(), json!(name))));
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    folder.write(&format!("{stem}.{extension}.index.json"), index.to_string());
    folder
}

fn pytorch(tensors: &Tensors, path: &Path) -> PathBuf {
    let mut saved = Saved::default();
    let pickle = saved.state(Pickle::new(), tensors);
    saved.zip(pickle, path)
}

#[test]
fn weights_are_found_under_every_name_that_transformers_gives_them() {
    let whole = weights(Folder::new().path());
    let bin = Folder::new();
    std::fs::remove_file(bin.path().join("model.safetensors")).unwrap();
    pytorch(&narrow().tensors(), &bin.dir.path().join("pytorch_model.bin"));
    assert!(weights(bin.dir.path()) == whole);
    assert!(weights(sharded("bin", pytorch).dir.path()) == whole);
    let several = sharded("safetensors", |tensors, path| tensors.write(path));
    assert!(weights(several.dir.path()) == whole);
    // The index can be given by itself; then the other files of its folder are not read.
    let index = several.dir.path().join("model.safetensors.index.json");
    assert!(weights(&index).0 == whole.0);
    // If both are there, safetensors take precedence, as in transformers.
    let both = Folder::new();
    std::fs::write(both.path().join("pytorch_model.bin"), "not read").unwrap();
    assert!(weights(both.dir.path()) == whole);
}

/// The error for a folder with several files of weights, after `change` changed the index.
fn with_index(change: impl Fn(&mut Value)) -> String {
    let folder = sharded("safetensors", |tensors, path| tensors.write(path));
    let path = folder.dir.path().join("model.safetensors.index.json");
    let mut index = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut index);
    std::fs::write(&path, index.to_string()).unwrap();
    refused(folder.dir.path(), &[])
}

#[test]
fn an_index_that_does_not_describe_its_files_is_refused() {
    const HEAD: &str = "segmentation_head.classifier.convolution.bias";
    let second = "model-00002-of-00002.safetensors";
    let first = "model-00001-of-00002.safetensors";
    let with = |tensor: &str, file: Value| with_index(|index| index["weight_map"][tensor] = file.clone());
    assert!(with(HEAD, json!(first)).contains(&format!("`{HEAD}` is in {second}, where it does not say so")));
    assert!(with("more", json!(second)).contains(&format!("`more` should be in {second} and is not")));
    assert!(with("more", json!("missing.safetensors")).contains("missing.safetensors: this data file"));
    for elsewhere in ["../model.safetensors", "/etc/passwd", "", "a/b", ".."] {
        let said = with("more", json!(elsewhere));
        assert!(said.contains("which is no file beside it"), "{said}");
    }
    assert!(with("more", json!(7)).contains("it is no index"));
    assert!(with_index(|index| *index = json!({"weight_map": {}})).contains("it names 0 files"));
    let itself = "model.safetensors.index.json";
    assert!(with("more", json!(itself)).contains("not a format this program knows"));
    let said = with_index(|index| {
        let map = index["weight_map"].as_object_mut().unwrap();
        map.remove(HEAD);
    });
    assert!(said.contains(HEAD), "{said}");
}

// ---- the published network's size ----

#[test]
fn a_folder_of_the_published_size_computes_what_transformers_computed() {
    let Some(golden) = shared("reference/torch/hf_mobilenetv2_os8_voc") else { return };
    let dir = tempfile::tempdir().unwrap();
    hash::write_torch(&golden.join("names.json"), &dir.path().join("model.safetensors"));
    let mut config = config();
    merge(
        &mut config,
        json!({"depth_multiplier": 1.0, "depth_divisible_by": 8, "min_depth": 8, "expand_ratio": 6.0, "image_size": 513}),
    );
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(dir.path().join("preprocessor_config.json"), preprocessor().to_string()).unwrap();
    let model = dir.path().join("model");
    convert(dir.path(), &model, &[]);
    assert_eq!(names_in(&model), ["README.md", "config.json", "model.safetensors"]);

    let golden = Golden::open(&golden.join("golden.safetensors"));
    let values = |name: &str| {
        let tensor = golden.get(name);
        (tensor.dims().to_vec(), tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    let ((input_shape, input), (shape, logits)) = (values("input"), values("logits_head"));
    let reference = Tensors::default().add("input", &input_shape, &input).add("logits", &shape, &logits);
    let reference = reference.write(&dir.path().join("reference.safetensors"));
    let args = ["verify".as_ref(), model.as_os_str(), "--reference".as_ref(), reference.as_os_str()];
    let verified = run(args.into_iter().chain(["--tolerance".as_ref(), "1e-4".as_ref()]));
    assert!(verified.status.success(), "{verified:?}");
    // With another output stride it is another network.
    merge(&mut config, json!({"output_stride": 32}));
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    convert(dir.path(), &model, &["--force"]);
    let verified = error(["verify".as_ref(), model.as_os_str(), "--reference".as_ref(), reference.as_os_str()]);
    assert!(verified.contains("logits"), "{verified}");
}
