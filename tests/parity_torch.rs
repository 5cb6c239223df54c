//! Checks that the networks compute what the PyTorch code bases compute. Goldens of `reference/torch` are converted
//! from a file with the original names, and are compared stage by stage and in the logits, by the eager and the fused
//! executors.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod support;

use std::path::Path;

use candle_core::{DType, Device, Module, Tensor};
use candle_deeplab::arch::{AUXILIARY, BACKBONE};
use candle_deeplab::config::{Backbone, Network};
use candle_deeplab::exec::Isa;
use candle_deeplab::{DeepLab, Error, Executor};
use support::golden::{FUSED_TOLERANCE, Golden, TOLERANCE, distance};
use support::{hash, shared::shared};
use weights_convert::{Options, Report};

/// Converts the hash weights of a variant. `None` if the reference data is missing.
fn convert(name: &str, family: &str, options: &Options) -> Option<(Golden, Report, DeepLab)> {
    let folder = shared(&format!("reference/torch/{name}"))?;
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, out) = (dir.path().join("checkpoint.safetensors"), dir.path().join("model"));
    hash::write_torch(&folder.join("names.json"), &checkpoint);
    let report = weights_convert::convert(&checkpoint, &out, options, false).unwrap();
    assert_eq!((report.decisions[0].what, report.decisions[0].value.as_str()), ("family", family));
    let golden = Golden::open(&folder.join("golden.safetensors"));
    Some((golden, report, DeepLab::load(&out, &Device::Cpu).unwrap()))
}

/// Converts the hash weights of a variant, and compares the results of the network.
fn variant(name: &str, family: &str, options: &Options) {
    let Some((golden, _, model)) = convert(name, family, options) else { return };
    let input = golden.get("input").clone();
    let network = &model.config().network;
    let low_level = network.decoder.iter().map(|d| ("low_level".to_owned(), format!("backbone.{}", d.low_level)));
    // The auxiliary head is there if the options keep it.
    let auxiliary = network.auxiliary.iter().map(|_| ("aux_head_logits".to_owned(), AUXILIARY.to_owned()));
    let mut points: Vec<(String, String)> = stages(network).into_iter().chain(low_level).chain(auxiliary).collect();
    points.push(("backbone_out".into(), BACKBONE.into()));
    points.push(("aspp_out".into(), "aspp.projection".into()));
    check_taps(&golden, &model, &points);
    let eager = model.with_executor(Executor::Eager).unwrap();
    let off = distance(&eager.logits(&input).unwrap(), golden.get("logits_head"));
    println!("{name}: logits are {off:.1e} standard deviations off");
    assert!(off <= TOLERANCE, "logits are {off:.1e} standard deviations off");
    for isa in Isa::available() {
        let fused = model.with_executor(Executor::Cpu(isa)).unwrap();
        let off = distance(&fused.logits(&input).unwrap(), golden.get("logits_head"));
        println!("{name}: fused ({isa}), {off:.1e}");
        assert!(off <= FUSED_TOLERANCE, "logits are {off:.1e} standard deviations off with {isa}");
    }
    // transformers leaves the last resize to the user.
    if golden.get("logits_final.shape").to_vec1::<i64>().unwrap()[2] == input.dims()[2] as i64 {
        check_values(&golden, "logits_final", &eager.forward(&input).unwrap());
    }
}

/// The stages of a golden, with the names of our taps.
fn stages(network: &Network) -> Vec<(String, String)> {
    let stage = |theirs: String, ours: String| (format!("stage.{theirs}"), format!("backbone.{ours}"));
    match &network.backbone {
        Backbone::Resnet(_) => (1..=4).map(|b| stage(format!("layer{b}"), format!("block{b}"))).collect(),
        Backbone::MobilenetV3(_) => Vec::new(),
        Backbone::MobilenetV2(layout) => vec![
            stage("low_level_features".into(), "block3".into()),
            stage("high_level_features".into(), format!("block{}", layout.blocks.len())),
        ],
        Backbone::Xception(layout) => {
            let middle = usize::from(layout.middle_blocks);
            let entry = (1..=3).map(|b| stage(format!("block{b}"), format!("entry_flow.block{b}")));
            let middle = (1..=middle).map(|b| stage(format!("block{}", b + 3), format!("middle_flow.block{b}")));
            entry.chain(middle).chain([stage("block20".into(), "exit_flow.block1".into())]).collect()
        }
    }
}

/// Compares the taps that the golden has. Returns their number.
fn check_taps(golden: &Golden, model: &DeepLab, points: &[(String, String)]) -> usize {
    let points: Vec<_> = points.iter().filter(|(point, _)| golden.0.contains_key(&format!("{point}.idx"))).collect();
    let taps: Vec<&str> = points.iter().map(|(_, tap)| tap.as_str()).collect();
    for executor in [Executor::Auto, Executor::Eager] {
        let values = model.clone().with_executor(executor).unwrap().taps(golden.get("input"), &taps).unwrap();
        for ((point, _), value) in points.iter().zip(values) {
            check_values(golden, point, &value);
        }
    }
    points.len()
}

/// Compares 32 values of a feature map, if the golden has them.
fn check_values(golden: &Golden, point: &str, value: &Tensor) {
    let indices = golden.get(&format!("{point}.idx"));
    let shape: Vec<i64> = golden.get(&format!("{point}.shape")).to_vec1().unwrap();
    assert_eq!(value.dims().iter().map(|&d| d as i64).collect::<Vec<_>>(), shape, "{point}");
    let ours: Vec<f32> = value.flatten_all().unwrap().index_select(indices, 0).unwrap().to_vec1().unwrap();
    let std: Vec<f64> = golden.get(&format!("{point}.std")).to_dtype(DType::F64).unwrap().to_vec1().unwrap();
    for (ours, theirs) in ours.iter().zip(golden.floats(&format!("{point}.values"))) {
        let off = f64::from((ours - theirs).abs()) / std[0];
        assert!(off <= TOLERANCE, "{point} is {off:.1e} standard deviations off");
    }
}

fn at_output_stride(output_stride: usize) -> Options {
    Options { output_stride: Some(output_stride), ..Options::default() }
}

fn with_auxiliary() -> Options {
    Options { keep_auxiliary: true, ..Options::default() }
}

#[test]
fn vainf_deeplabv3_plus() {
    variant("vainf_v3plus_resnet101_os16_voc", "vainf", &Options::default());
}

#[test]
fn vainf_deeplabv3_plus_with_separable_convolutions() {
    variant("vainf_v3plus_resnet101_os16_voc_sep", "vainf", &Options::default());
}

#[test]
fn vainf_deeplabv3_at_output_stride_8() {
    variant("vainf_v3_resnet101_os8_voc", "vainf", &at_output_stride(8));
}

#[test]
fn jfzhang_resnet() {
    variant("jf_resnet_os16_voc", "jfzhang", &Options::default());
}

#[test]
fn torchvision_deeplabv3() {
    variant("tv_v3_resnet101", "torchvision", &with_auxiliary());
}

/// Checks a full-size network with hash weights against torchvision's results (`golden/mobilenet_v3`).
#[test]
fn torchvision_mobilenet_v3() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let geometry = std::fs::read(goldens.join("families/torchvision_v3_mobilenet_v3_large.json")).unwrap();
    let geometry: serde_json::Value = serde_json::from_slice(&geometry).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, out) = (dir.path().join("checkpoint.safetensors"), dir.path().join("model"));
    let tensors = serde_json::from_value(geometry["tensors"].clone()).unwrap();
    hash::write_torch_tensors(&tensors, 2.0, &checkpoint);
    let report = weights_convert::convert(&checkpoint, &out, &with_auxiliary(), false).unwrap();
    let decided = |what: &str| report.decisions.iter().find(|decision| decision.what == what).unwrap().value.clone();
    assert_eq!(decided("family"), "torchvision");
    assert_eq!(decided("network"), "DeepLabv3 mobilenet_v3_large, 21 classes");
    assert_eq!((decided("output stride").as_str(), decided("atrous rates").as_str()), ("16", "[12, 24, 36]"));

    let golden = Golden::open(&goldens.join("mobilenet_v3/golden.safetensors"));
    let model = DeepLab::load(&out, &Device::Cpu).unwrap();
    let input = golden.get("input");
    let auxiliary = model.taps(input, &[AUXILIARY]).unwrap().remove(0);
    let off = distance(&auxiliary, golden.get("auxiliary"));
    assert!(off <= TOLERANCE, "the auxiliary head's logits are {off:.1e} standard deviations off");
    let eager = model.with_executor(Executor::Eager).unwrap();
    let off = distance(&eager.logits(input).unwrap(), golden.get("logits"));
    println!("mobilenet_v3_large: logits are {off:.1e} standard deviations off");
    assert!(off <= TOLERANCE, "logits are {off:.1e} standard deviations off");
    for isa in Isa::available() {
        let fused = model.with_executor(Executor::Cpu(isa)).unwrap();
        let off = distance(&fused.logits(input).unwrap(), golden.get("logits"));
        println!("mobilenet_v3_large: fused ({isa}), {off:.1e}");
        assert!(off <= FUSED_TOLERANCE, "logits are {off:.1e} standard deviations off with {isa}");
    }
}

/// A layer in the table of the network must be in the file, even with lenient options.
#[test]
fn a_mobilenet_v3_without_a_squeeze_is_not_taken_for_a_smaller_one() {
    let geometry =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/families/torchvision_v3_mobilenet_v3_large.json");
    let geometry: serde_json::Value = serde_json::from_slice(&std::fs::read(geometry).unwrap()).unwrap();
    let mut tensors: std::collections::BTreeMap<String, Vec<usize>> =
        serde_json::from_value(geometry["tensors"].clone()).unwrap();
    tensors.remove("backbone.11.block.2.fc1.weight").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("checkpoint.safetensors");
    hash::write_torch_tensors(&tensors, 2.0, &checkpoint);
    let options = Options { ignore_unexpected: true, ..Options::default() };
    let error = weights_convert::convert(&checkpoint, &dir.path().join("model"), &options, false).unwrap_err();
    assert!(error.to_string().contains("backbone.11.block.2.fc1.weight"), "{error}");
}

#[test]
fn smp_deeplabv3_plus() {
    variant("smp_v3plus_resnet101_os16", "smp", &Options::default());
}

#[test]
fn mmsegmentation_deeplabv3_plus() {
    variant("mmseg_v3plus_r101-d8_city", "mmseg", &with_auxiliary());
}

#[test]
fn smp_deeplabv3_plus_with_timms_xception() {
    variant("smp_v3plus_tu-xception65_os16", "smp", &Options::default());
}

#[test]
fn transformers_mobilenet_v2() {
    variant("hf_mobilenetv2_os8_voc", "transformers", &Options::default());
}

#[test]
fn vainf_mobilenet() {
    variant("vainf_v3plus_mobilenet_os16_voc", "vainf", &Options::default());
}

#[test]
fn jfzhang_mobilenet() {
    variant("jf_mobilenet_os16_voc", "jfzhang", &Options::default());
}

#[test]
fn jfzhang_xception() {
    variant("jf_xception_os16_voc", "jfzhang", &Options::default());
}

/// Converts a backbone and compares its features.
fn backbone(name: &str, points: &[(&str, &str)]) {
    let Some((golden, report, model)) = convert(name, "timm", &Options::default()) else { return };
    assert_eq!(report.left_out["ImageNet classifier"].count, 2);
    let points: Vec<_> = points.iter().map(|(point, tap)| ((*point).to_owned(), (*tap).to_owned())).collect();
    assert_eq!(check_taps(&golden, &model, &points), points.len());
    let error = model.logits(golden.get("input")).unwrap_err();
    assert!(matches!(error, Error::NoHead), "{error}");
    assert!(model.forward(golden.get("input")).unwrap_err().to_string().contains("without a segmentation head"));
    assert!(model.at_output_stride(8).is_ok());
}

#[test]
fn timm_resnet() {
    let points = [
        ("feat0", "backbone.conv1"),
        ("feat1", "backbone.block1"),
        ("feat2", "backbone.block2"),
        ("feat3", "backbone.block3"),
        ("feat4", "backbone.block4"),
        ("forward_features", "backbone"),
    ];
    backbone("timm_resnet101_os16", &points);
}

#[test]
fn timm_xception() {
    let points = [
        ("stem", "backbone.entry_flow.conv2"),
        ("block00", "backbone.entry_flow.block1"),
        ("block01_conv2_pre_relu", "backbone.entry_flow.block2.sepconv2"),
        ("feat1", "backbone.entry_flow.block2.sepconv3.relu"),
        ("block02", "backbone.entry_flow.block3"),
        ("block03", "backbone.middle_flow.block1"),
        ("block18", "backbone.middle_flow.block16"),
        ("block19", "backbone.exit_flow.block1"),
        ("block20", "backbone.exit_flow.block2"),
        ("forward_features", "backbone"),
    ];
    backbone("timm_xception65_os16", &points);
}
