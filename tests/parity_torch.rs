//! The networks compute what the PyTorch code bases compute: goldens of `reference/torch`, from a file with their names
//! through the converter, compared stage by stage and in the logits.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod support;

use candle_core::{DType, Device, Module, Tensor};
use candle_deeplab::DeepLab;
use candle_deeplab::arch::{AUXILIARY, BACKBONE};
use candle_deeplab::config::Backbone;
use support::golden::{Golden, TOLERANCE, distance};
use support::{hash, shared::shared};
use weights_convert::Options;

/// Converts the hash weights of a variant, and compares what the result computes.
fn variant(name: &str, family: &str, options: &Options) {
    let Some(folder) = shared(&format!("reference/torch/{name}")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, out) = (dir.path().join("checkpoint.safetensors"), dir.path().join("model"));
    hash::write_torch(&folder.join("names.json"), &checkpoint);
    let report = weights_convert::convert(&checkpoint, &out, options, false).unwrap();
    assert_eq!((report.decisions[0].what, report.decisions[0].value.as_str()), ("family", family));
    let model = DeepLab::load(&out, &Device::Cpu).unwrap();

    let golden = Golden::open(&folder.join("golden.safetensors"));
    let input = golden.get("input").clone();
    let network = &model.config().network;
    let stages = match network.backbone {
        Backbone::Resnet(_) => (1..=4).map(|b| (format!("stage.layer{b}"), format!("backbone.block{b}"))).collect(),
        _ => Vec::new(),
    };
    let parts = [("backbone_out", BACKBONE), ("aspp_out", "aspp.projection")];
    let parts = parts.map(|(point, tap)| (point.to_owned(), tap.to_owned()));
    // Kept where the options say so.
    let auxiliary = network.auxiliary.iter().map(|_| ("aux_head_logits".to_owned(), AUXILIARY.to_owned()));
    let low_level = network.decoder.iter().map(|d| ("low_level".to_owned(), format!("backbone.{}", d.low_level)));
    let points: Vec<(String, String)> = stages.into_iter().chain(parts).chain(low_level).chain(auxiliary).collect();
    let taps: Vec<&str> = points.iter().map(|(_, tap)| tap.as_str()).collect();
    for ((point, _), value) in points.iter().zip(model.taps(&input, &taps).unwrap()) {
        check_values(&golden, point, &value);
    }
    let off = distance(&model.logits(&input).unwrap(), golden.get("logits_head"));
    println!("{name}: logits are {off:.1e} standard deviations off");
    assert!(off <= TOLERANCE, "logits are {off:.1e} standard deviations off");
    // transformers leaves the last resize to its user.
    if golden.get("logits_final.shape").to_vec1::<i64>().unwrap()[2] == input.dims()[2] as i64 {
        check_values(&golden, "logits_final", &model.forward(&input).unwrap());
    }
}

/// Compares 32 values of a feature map, where the golden has them.
fn check_values(golden: &Golden, point: &str, value: &Tensor) {
    let Some(indices) = golden.0.get(&format!("{point}.idx")) else { return };
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
