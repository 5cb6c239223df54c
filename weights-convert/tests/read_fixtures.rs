//! Files that TensorFlow and its converter wrote, against what TensorFlow reads from them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod read_support;
#[allow(dead_code)] // each test uses its part
#[path = "../../tests/support/shared.rs"]
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use read_support::read_all;
use serde_json::Value;
use shared::{kept, shared};
use weights_convert::{Checkpoint, ConvGeometry, DType, Format, RawTensor};

/// A number of expected.json; what JSON has no number for stands there as a word.
fn number(value: &Value) -> f64 {
    match value {
        Value::String(word) => word.parse().unwrap(),
        other => other.as_f64().unwrap(),
    }
}

/// The bytes that a value of expected.json has in a tensor.
fn bytes(dtype: DType, value: &Value) -> Vec<u8> {
    let int = || value.as_i64().unwrap();
    match dtype {
        DType::F32 => (number(value) as f32).to_le_bytes().to_vec(),
        DType::F64 => number(value).to_le_bytes().to_vec(),
        DType::F16 => half::f16::from_f64(number(value)).to_le_bytes().to_vec(),
        DType::Bf16 => half::bf16::from_f64(number(value)).to_le_bytes().to_vec(),
        DType::Complex64 => value.as_array().unwrap().iter().flat_map(|part| bytes(DType::F32, part)).collect(),
        DType::Bool => vec![u8::from(value.as_bool().unwrap())],
        _ => int().to_le_bytes()[..dtype.size().unwrap()].to_vec(),
    }
}

fn compare(name: &str, raw: &RawTensor, expected: &Value) {
    assert_eq!(raw.dtype.to_string(), expected["dtype"].as_str().unwrap(), "{name}");
    let shape: Vec<usize> = serde_json::from_value(expected["shape"].clone()).unwrap();
    assert_eq!(raw.shape, shape, "{name}");
    let values = expected["values"].as_array().unwrap();
    if raw.dtype == DType::Str {
        // Each character stands for one byte.
        let bytes = |v: &Value| v.as_str().unwrap().chars().map(|c| u8::try_from(c).unwrap()).collect::<Vec<u8>>();
        let expected: Vec<_> = values.iter().map(bytes).collect();
        assert_eq!(raw.strings().unwrap().collect::<Vec<_>>(), expected, "{name}");
    } else {
        let expected: Vec<u8> = values.iter().flat_map(|v| bytes(raw.dtype, v)).collect();
        assert_eq!(raw.data, expected, "{name}");
    }
}

/// All of a file's tensors but `others` are those of an expected.json, bit by bit.
fn compare_all(path: &Path, expected: &Path, others: &[&str]) -> Checkpoint {
    let expected: BTreeMap<String, Value> = serde_json::from_slice(&std::fs::read(expected).unwrap()).unwrap();
    let mut tensors = read_all(path).unwrap();
    tensors.retain(|(name, _)| !others.contains(&name.as_str()));
    assert!(tensors.iter().map(|(name, _)| name).eq(expected.keys()), "{}", path.display());
    for (name, raw) in &tensors {
        compare(name, raw, &expected[name]);
    }
    Checkpoint::open(path).unwrap()
}

#[test]
fn checkpoints_hold_what_tensorflow_wrote() {
    for case in ["dtypes", "sharded", "partitioned"] {
        let dir = kept(case);
        let checkpoint = compare_all(&dir.join("model.ckpt"), &dir.join("expected.json"), &[]);
        assert_eq!(checkpoint.format(), Format::TfCheckpoint);
        assert_eq!(checkpoint.geometry(), &Default::default());
    }
}

#[test]
fn graphs_hold_constants_stored_in_every_way() {
    let dir = kept("graphdef");
    let graph = compare_all(&dir.join("consts.pb"), &dir.join("expected.json"), &[]);
    assert_eq!(graph.format(), Format::TfGraphDef);
}

#[test]
fn a_frozen_graph_tells_its_variables_and_strides() {
    let dir = kept("graphdef");
    let graph = compare_all(&dir.join("frozen_tiny.pb"), &dir.join("frozen_tiny_expected.json"), &["ArgMax/dimension"]);
    for (name, info) in graph.tensors() {
        assert_eq!(info.variable, name != "ArgMax/dimension", "{name}");
    }
    assert_eq!(graph.geometry().input_size, None);
    let convs = &graph.geometry().convs;
    assert_eq!(convs["conv/weights"], ConvGeometry { stride: (2, 2), dilation: (1, 1) });
    assert_eq!(convs["sep/depthwise_weights"], ConvGeometry { stride: (1, 1), dilation: (1, 1) });
}

#[test]
fn a_checkpoint_is_found_by_any_of_its_names() {
    let dir = kept("dtypes");
    for name in ["", "model.ckpt", "model.ckpt.index", "model.ckpt.data-00000-of-00001"] {
        let checkpoint = Checkpoint::open(&dir.join(name)).unwrap();
        assert_eq!(checkpoint.path(), dir.join("model.ckpt"), "{name}");
    }
}

#[test]
fn a_whole_network_is_the_same_in_its_checkpoint_and_in_its_frozen_graph() {
    let dir = kept("xception65_narrow");
    // A folder with both, as the model zoo's archives have: the checkpoint is meant.
    let checkpoint = Checkpoint::open(&dir).unwrap();
    assert_eq!(checkpoint.format(), Format::TfCheckpoint);
    checkpoint.check().unwrap();
    let graph = Checkpoint::open(&dir.join("frozen_inference_graph.pb")).unwrap();
    assert_eq!(graph.format(), Format::TfGraphDef);

    let variables: BTreeSet<&str> = graph.tensors().filter(|(_, info)| info.variable).map(|(name, _)| name).collect();
    assert_eq!(variables.len(), 732);
    for name in variables {
        assert_eq!(graph.read(name).unwrap(), checkpoint.read(name).unwrap(), "{name}");
    }
}

#[test]
fn a_frozen_graph_tells_its_atrous_rates() {
    let path = kept("xception65_narrow/frozen_inference_graph.pb");
    let graph = Checkpoint::open(&path).unwrap();
    let atrous: BTreeMap<&str, usize> = (graph.geometry().convs.iter())
        .inspect(|(_, conv)| assert_eq!(conv.dilation.0, conv.dilation.1))
        .filter(|(_, conv)| conv.dilation.0 > 1)
        .map(|(name, conv)| (name.as_str(), conv.dilation.0))
        .collect();
    let block2 = |i: u8| {
        format!("xception_65/exit_flow/block2/unit_1/xception_module/separable_conv{i}_depthwise/depthwise_weights")
    };
    let block2 = [block2(1), block2(2), block2(3)];
    let mut expected: BTreeMap<&str, usize> = block2.iter().map(|name| (name.as_str(), 2)).collect();
    expected.extend([
        ("aspp1_depthwise/depthwise_weights", 6),
        ("aspp2_depthwise/depthwise_weights", 12),
        ("aspp3_depthwise/depthwise_weights", 18),
    ]);
    assert_eq!(atrous, expected);
    assert_eq!(graph.geometry().convs.len(), 79 + 68, "every Conv2D and DepthwiseConv2dNative");
    assert_eq!(graph.geometry().convs["xception_65/entry_flow/conv1_1/weights"].stride, (2, 2));
}

#[test]
fn a_published_tflite_model_is_read() {
    let Some(path) = shared("real/deeplabv3_257_mv_gpu.tflite") else {
        return;
    };
    let model = Checkpoint::open(&path).unwrap();
    assert_eq!(model.format(), Format::TfLite);
    model.check().unwrap();
    assert_eq!(model.geometry().input_size, Some((257, 257)));
    // 38 convolutions and 17 depthwise ones, each with weights and bias; and three sizes to resize to.
    assert_eq!(model.tensors().filter(|(_, info)| info.variable).count(), 110);
    assert_eq!(model.tensors().count(), 113);
    assert!(model.tensors().all(|(_, info)| !info.quantized));

    let convs = &model.geometry().convs;
    assert_eq!(convs.len(), 55);
    let dilated = |d| convs.values().filter(|conv| conv.dilation == (d, d)).count();
    assert_eq!((dilated(1), dilated(2), dilated(4)), (45, 7, 3));
    let stem = model.read("MobilenetV2/Conv/weights").unwrap();
    assert_eq!(stem.shape, [16, 3, 3, 3]);
    assert!(stem.to_f32().unwrap().iter().all(|v| v.is_finite()));
    assert_eq!(convs["MobilenetV2/Conv/weights"], ConvGeometry { stride: (2, 2), dilation: (1, 1) });
}

#[test]
fn a_checkpoint_of_mmengines_runner_is_read_past_its_histories() {
    for file in ["mmengine/zip.pth", "mmengine/legacy.pth"] {
        let path = kept(file);
        let read = |state| Checkpoint::open_state(&path, state).unwrap().read("w").unwrap().to_f32().unwrap();
        assert_eq!(read(None), [0., 1., 2., 3., 4., 5.], "{file}");
        assert_eq!(read(Some("ema_state_dict")), [1., 2., 3., 4., 5., 6.], "{file}");
    }
}
