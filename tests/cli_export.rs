//! Tests of `candle-deeplab export` from the command line. The library's tests check what the operators compute.

#![allow(clippy::unwrap_used)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;

use candle_deeplab::{Config, onnx};
use program::{json, model, refused, success};
use prost::Message;

/// The part of `onnx/onnx.proto` that these tests read.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<Property>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Property {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Message)]
struct Kind {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorKind>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorKind {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, tag = "1")]
    value: i64,
}

const FLOAT: i32 = 1;
const UINT8: i32 = 2;

/// The name, type and shape of an input or output.
fn described(values: &[ValueInfo]) -> (String, i32, Vec<i64>) {
    let [value] = values else { panic!("{values:?}") };
    let tensor = value.kind.as_ref().unwrap().tensor.as_ref().unwrap();
    let shape = tensor.shape.as_ref().unwrap().dim.iter().map(|dim| dim.value).collect();
    (value.name.clone(), tensor.element, shape)
}

fn read(path: &Path) -> Model {
    Model::decode(&std::fs::read(path).unwrap()[..]).unwrap()
}

fn export<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["export", "onnx", "--model", model(), "-o", "out.onnx"], more].concat()
}

#[test]
fn the_file_is_an_onnx_model_at_the_models_own_size() {
    let dir = tempfile::tempdir().unwrap();
    let said = success(dir.path(), &export(&[]));
    assert!(said.contains("wrote out.onnx") && said.contains("f32 [1, 3, 513, 513] to `logits`"), "{said}");
    let file = read(&dir.path().join("out.onnx"));
    assert_eq!((file.ir_version, file.producer_name.as_str()), (8, "candle-deeplab"));
    assert_eq!(file.opset_import, [OperatorSet { domain: String::new(), version: 17 }]);
    let graph = file.graph.unwrap();
    assert_eq!(described(&graph.input), ("input".into(), FLOAT, vec![1, 3, 513, 513]));
    assert_eq!(described(&graph.output), ("logits".into(), FLOAT, vec![1, 21, 513, 513]));
    // Every node's inputs are defined before it, and the weights have as many bytes as their shapes need.
    let mut known: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    known.extend(["input", ""]);
    for node in &graph.node {
        assert!(node.input.iter().all(|name| known.contains(&name.as_str())), "{node:?}");
        known.extend(node.output.iter().map(String::as_str));
    }
    assert!(known.contains(&"logits") && graph.node.iter().any(|node| node.op_type == "Conv"));
    for Tensor { name, dims, raw_data } in graph.initializer.iter().filter(|tensor| tensor.dims.len() == 4) {
        assert_eq!(raw_data.len() as i64, 4 * dims.iter().product::<i64>(), "{name}");
    }
}

/// The file alone suffices to prepare an input and to name the classes.
#[test]
fn the_file_says_how_its_input_is_made() {
    let dir = tempfile::tempdir().unwrap();
    success(dir.path(), &export(&["--head", "mask", "--output-stride", "8"]));
    let file = read(&dir.path().join("out.onnx"));
    let get = |key: &str| &file.metadata_props.iter().find(|property| property.key == key).unwrap().value;
    let recipe: Config = serde_json::from_str(get("config.json")).unwrap();
    let loaded = Config::from_file(&Path::new(model()).join("config.json")).unwrap();
    assert_eq!((&recipe.preprocessing, &recipe.labels), (&loaded.preprocessing, &loaded.labels));
    // The recipe describes the exported network.
    assert_eq!((recipe.network.output_stride, loaded.network.output_stride), (8, 16));
    let names: Vec<String> = serde_json::from_str(get(onnx::CLASS_NAMES)).unwrap();
    assert_eq!(names, loaded.labels.names);
}

#[test]
fn size_head_and_stride_are_the_ones_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--size", "33x65", "--head", "mask", "--output-stride", "8", "--json"];
    let found = json(dir.path(), &export(&args));
    let file = dir.path().join("out.onnx");
    assert_eq!(found["bytes"], file.metadata().unwrap().len());
    assert_eq!((&found["size"], &found["output_stride"]), (&vec![33, 65].into(), &8.into()));
    assert_eq!(
        (&found["model"], &found["output"], &found["path"]),
        (&model().into(), &"mask".into(), &"out.onnx".into())
    );
    let graph = read(&file).graph.unwrap();
    assert_eq!(described(&graph.input), ("input".into(), FLOAT, vec![1, 3, 33, 65]));
    assert_eq!(described(&graph.output), ("mask".into(), UINT8, vec![1, 33, 65]));
}

/// The file is checked before the model is looked for.
#[test]
fn a_file_that_is_there_is_replaced_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.onnx");
    std::fs::write(&file, "mine").unwrap();
    let said = refused(dir.path(), &["export", "onnx", "--model", "no-such-model", "-o", "out.onnx"]);
    assert!(said.contains("`out.onnx` exists: replace it with `--force`") && !said.contains("no-such-model"), "{said}");
    let said = refused(dir.path(), &["export", "onnx", "--model", "no-such-model", "-o", "no/out.onnx"]);
    assert!(said.contains("`no` does not exist"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    success(dir.path(), &export(&["--force", "--size", "33x33"]));
    assert_eq!(read(&file).producer_name, "candle-deeplab");
    // No temporary file is left.
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["out.onnx"]);
}

#[test]
fn an_output_stride_that_is_none_is_a_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refused(dir.path(), &export(&["--output-stride", "5"])).contains("8, 16 or 32"));
    assert!(!dir.path().join("out.onnx").exists());
}
