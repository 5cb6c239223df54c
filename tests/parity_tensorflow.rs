//! Checks that the networks compute what TensorFlow DeepLab computes. Every golden of `reference/tf` is converted from
//! a checkpoint with TensorFlow's names, and is compared at every end point of the backbone, in the head, and in the
//! logits.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Module, Tensor};
use candle_deeplab::arch::LOGITS;
use candle_deeplab::config::{Preprocessing, SizeRule};
use candle_deeplab::exec::Isa;
use candle_deeplab::segment::MultiScale;
use candle_deeplab::{DeepLab, Executor, Precision, Segmenter};
use image::RgbImage;
use support::golden::{FUSED_TOLERANCE, Golden, TOLERANCE, distance, distance_to_summary, end_points};
use support::hash;
use support::shared::{kept, shared};
use weights_convert::Options;

/// Converts the hash weights of a variant and loads the model.
fn model(names: &Path, options: &Options) -> DeepLab {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, out) = (dir.path().join("checkpoint.safetensors"), dir.path().join("model"));
    hash::write_tensorflow(names, &checkpoint);
    let report = weights_convert::convert(&checkpoint, &out, options, false).unwrap();
    assert_eq!(report.unexpected.names, [""; 0]);
    DeepLab::load(&out, &Device::Cpu).unwrap()
}

/// Compares a model with a folder's golden, end point by end point, so that an error shows where it happens.
fn check(model: &DeepLab, folder: &Path) {
    let golden = Golden::open(&folder.join("golden.safetensors"));
    let input = golden.nchw("preprocessed_input");
    let wanted = end_points(&folder.join("endpoints.json"));
    let points = backbone_points(model, wanted.keys());
    assert_eq!(points.len(), wanted.len(), "end points without a tap: {:?}", missing(&wanted, &points));

    let taps: Vec<&str> = points.values().map(String::as_str).collect();
    let values = model.taps(&input, &taps).unwrap();
    for ((point, tap), value) in points.iter().zip(&values) {
        let (summary, (n, c, h, w)) = (&wanted[point], value.dims4().unwrap());
        assert_eq!([n, h, w, c], summary.shape[..], "{tap}");
        let off = distance_to_summary(value, &summary.values);
        assert!(off <= TOLERANCE, "{tap} ({point}) is {off:.1e} standard deviations off");
    }

    let mut taps = vec!["backbone", "aspp", LOGITS];
    if let Some(decoder) = &model.config().network.decoder {
        taps.push("decoder");
        let low_level = model.taps(&input, &[&format!("backbone.{}", decoder.low_level)]).unwrap();
        check_summary(&golden, "low_level", &low_level[0]);
    }
    for executor in [Executor::Auto, Executor::Eager] {
        let values = model.clone().with_executor(executor).unwrap().taps(&input, &taps).unwrap();
        for (tap, value) in taps.iter().zip(values) {
            check_summary(&golden, if *tap == LOGITS { "logits" } else { tap }, &value);
        }
    }
    let eager = model.with_executor(Executor::Eager).unwrap().logits(&input).unwrap();
    let off = distance(&eager, &golden.nchw("logits"));
    println!("{}: logits are {off:.1e} standard deviations off", folder.display());
    assert!(off <= TOLERANCE, "logits are {off:.1e} standard deviations off");
    let whole = model.with_executor(Executor::Eager).unwrap().forward(&input).unwrap();
    if golden.0.contains_key("resized_logits.summary") {
        check_summary(&golden, "resized_logits", &whole);
    }
    check_fused(model, &golden, &input, &whole);
    check_image(model, folder);
}

/// Compares the fused executor with the golden and with the eager executor, for each instruction set of this machine.
fn check_fused(model: &DeepLab, golden: &Golden, input: &Tensor, whole: &Tensor) {
    for isa in Isa::available() {
        let model = model.with_executor(Executor::Cpu(isa)).unwrap();
        let off = distance(&model.logits(input).unwrap(), &golden.nchw("logits"));
        println!("  fused, {isa}: logits are {off:.1e} standard deviations off");
        assert!(off <= FUSED_TOLERANCE, "{isa}: logits are {off:.1e} standard deviations off");
        let off = distance(&model.forward(input).unwrap(), whole);
        assert!(off <= FUSED_TOLERANCE, "{isa}: resized logits are {off:.1e} standard deviations off");
        let agreeing = agreement(&model.label_map(input).unwrap(), &whole.argmax(1).unwrap());
        assert!(agreeing >= 0.999, "{isa}: {agreeing} of the label map agrees");
    }
}

/// The share of pixels that have the same class in both label maps.
fn agreement(a: &Tensor, b: &Tensor) -> f64 {
    let ids = |t: &Tensor| t.to_dtype(DType::U32).unwrap().flatten_all().unwrap().to_vec1::<u32>().unwrap();
    let (a, b) = (ids(a), ids(b));
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

fn check_summary(golden: &Golden, name: &str, value: &Tensor) {
    let off = distance_to_summary(value, &golden.floats(&format!("{name}.summary")));
    assert!(off <= TOLERANCE, "{name} is {off:.1e} standard deviations off");
}

fn missing<T>(wanted: &BTreeMap<String, T>, found: &BTreeMap<String, String>) -> Vec<String> {
    wanted.keys().filter(|point| !found.contains_key(*point)).cloned().collect()
}

/// TensorFlow's end points, with the taps that must equal them.
fn backbone_points<'a>(model: &DeepLab, points: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
    let tap = |point: &'a String| Some((point.clone(), tap_of(point)?));
    points.filter_map(tap).filter(|(_, tap)| model.graph().tap(tap).is_ok()).collect()
}

/// The name of the tap for a TensorFlow end point.
fn tap_of(point: &str) -> Option<String> {
    if let Some(layer) = point.strip_prefix("layer_") {
        // MobileNetV2: layer 1 is the stem, layer n the block n − 1.
        let (number, part) = layer.split_once('/').unwrap_or((layer, "output"));
        let part = match part {
            "expansion_output" => ".expand",
            "depthwise_output" => ".depthwise",
            _ => "",
        };
        return Some(match number.parse::<usize>().ok()? {
            1 => "backbone.stem".into(),
            n => format!("backbone.block{}{part}", n - 1),
        });
    }
    let (_scope, path) = point.split_once('/')?;
    if path == "middle_flow/block1" {
        // TensorFlow's middle flow is one block of many units.
        return Some("backbone.middle_flow".into());
    }
    let path = path
        .replace("middle_flow/block1/unit_", "middle_flow/block")
        .replace("separable_conv", "sepconv")
        .replace("entry_flow/conv1_", "entry_flow/conv")
        .replace("/unit_1/xception_module", "")
        .replace("/xception_module", "")
        .replace("_depthwise", "/depthwise")
        .replace("_pointwise", "/pointwise")
        .replace("/bottleneck_v1", "")
        .replace("unit_", "unit");
    // TensorFlow has no scope around a stem of several convolutions.
    let path = path.strip_prefix("conv1_").map_or(path.clone(), |conv| format!("conv1/conv{conv}"));
    Some(format!("backbone.{}", path.replace('/', ".")))
}

/// Checks one golden.
fn variant(name: &str, options: &Options) {
    if let Some(folder) = shared(&format!("reference/tf/{name}")) {
        check(&model(&folder.join("names.json"), options), &folder);
    }
}

/// Compares label maps of an image, which tests preprocessing, padding, and the way back to the image's size.
fn check_image(model: &DeepLab, folder: &Path) {
    let golden = Golden::open(&folder.join("golden.safetensors"));
    let &[height, width, _] = golden.get("image").dims() else { panic!("an image is [H, W, 3]") };
    let image = RgbImage::from_raw(width as u32, height as u32, golden.bytes("image")).unwrap();
    let crop = golden.get("argmax").dims();
    let size = SizeRule::Native { height: crop[0], width: crop[1] };
    let preprocessing = Preprocessing { size, ..model.config().preprocessing.clone() };

    let pixels = preprocessing.prepare(&image, &Device::Cpu).unwrap().pixels;
    let off = distance(&pixels, &golden.nchw("preprocessed_input"));
    assert!(off <= 1e-6, "preprocessing is {off:.1e} standard deviations off");

    let labels = model.config().labels.clone();
    let segmenter = Segmenter::from_parts(model.clone(), preprocessing, labels, Device::Cpu);
    let found = segmenter.segment(&image.into()).unwrap();
    check_mask(found.ids(), &golden.bytes("semantic_predictions"));
}

/// Compares label maps, of which rounding may change some pixels: with hash weights the best two classes are within
/// 1e-3 of a standard deviation in up to 0.7 % of the pixels.
fn check_mask(ours: &[u8], reference: &[u8]) {
    assert_eq!(ours.len(), reference.len());
    let agreeing = ours.iter().zip(reference).filter(|(a, b)| a == b).count();
    let share = agreeing as f64 / ours.len() as f64;
    assert!(share >= 0.9995, "only {:.3} % of the pixels have the same class", 100.0 * share);
}

#[test]
fn several_scales_and_their_mirror_images() {
    let Some(folder) = shared("reference/tf/mobilenetv2_voc_ms_flip") else { return };
    let golden = Golden::open(&folder.join("golden.safetensors"));
    // The golden's own input is that of the first scale; the image has exactly the crop's size.
    let &[height, width, _] = golden.get("image").dims() else { panic!("an image is [H, W, 3]") };
    let image = RgbImage::from_raw(width as u32, height as u32, golden.bytes("image")).unwrap();
    let model = model(&folder.join("names.json"), &Options::default());
    let size = SizeRule::Native { height, width };
    let preprocessing = Preprocessing { size, ..model.config().preprocessing.clone() };
    let labels = model.config().labels.clone();
    let pixels = preprocessing.prepare(&image, &Device::Cpu).unwrap().pixels;

    let several = MultiScale::new(model, &[0.75, 1.0, 1.25], true).unwrap();
    check_summary(&golden, "avg_prob", &several.forward(&pixels).unwrap());
    let segmenter = Segmenter::from_parts(several, preprocessing, labels, Device::Cpu);
    let found = segmenter.segment(&image.into()).unwrap();
    check_mask(found.ids(), &golden.bytes("semantic_predictions"));
}

#[test]
fn xception_65_at_odd_even_and_padded_sizes_and_both_output_strides() {
    let Some(reference) = shared("reference/tf") else { return };
    // These three have the same weights.
    let model = model(&reference.join("xception65_voc_os16/names.json"), &Options::default());
    for size in ["os16", "os16_even", "os16_pad"] {
        check(&model, &reference.join(format!("xception65_voc_{size}")));
    }
    check(&model.at_output_stride(8).unwrap(), &reference.join("xception65_voc_os8"));
}

#[test]
fn xception_71() {
    variant("xception71_cityscapes_os16", &Options::default());
}

/// A real checkpoint that TensorFlow wrote; it is in the repository with its golden.
#[test]
fn xception_65_with_narrow_widths() {
    let dir = tempfile::tempdir().unwrap();
    let folder = kept("xception65_narrow");
    weights_convert::convert(&folder.join("model.ckpt"), dir.path(), &Options::default(), false).unwrap();
    check(&DeepLab::load(dir.path(), &Device::Cpu).unwrap(), &folder);
}

#[test]
fn mobilenet_v2() {
    variant("mobilenetv2_voc_os16", &Options::default());
}

#[test]
fn mobilenet_v2_at_half_width_and_output_stride_8() {
    variant("mobilenetv2_dm05_voc_os8", &Options { output_stride: Some(8), ..Options::default() });
}

#[test]
fn resnet_101_beta() {
    variant("resnet101beta_voc_os16", &Options::default());
}

#[test]
fn resnet_50() {
    variant("resnet50_voc_os16", &Options::default());
}

/// Uses a trained network and photographs, since hash weights leave the best two classes too close to each other.
#[test]
fn bf16_hardly_changes_the_classes_of_photographs() {
    let Some(file) = shared("real/deeplabv3_257_mv_gpu.tflite") else { return };
    let dir = tempfile::tempdir().unwrap();
    weights_convert::convert(&file, &dir.path().join("model"), &Options::default(), false).unwrap();
    let model = DeepLab::load(dir.path().join("model"), &Device::Cpu).unwrap();
    for photo in ["bird_segmentation", "grace_hopper"] {
        let Some(golden) = shared(&format!("real/golden/mobilenetv2_dm05_voc_257__{photo}.safetensors")) else {
            return;
        };
        let pixels = Golden::open(&golden).nchw("image_u8").to_dtype(DType::F32).unwrap();
        let pixels = ((pixels / 127.5).unwrap() - 1.0).unwrap();
        for isa in Isa::available().filter(|isa| isa.supports(Precision::Bf16)) {
            let exact = model.with_executor(Executor::Cpu(isa)).unwrap();
            let rounded = exact.with_precision(Precision::Bf16).unwrap();
            let off = distance(&rounded.logits(&pixels).unwrap(), &exact.logits(&pixels).unwrap());
            let agreeing = agreement(&rounded.label_map(&pixels).unwrap(), &exact.label_map(&pixels).unwrap());
            println!(
                "{photo}, bf16, {isa}: logits {off:.1e} standard deviations off, {agreeing:.4} of the classes alike"
            );
            assert!(off > 0.0 && agreeing >= 0.99, "{isa}: {agreeing} of the classes agree");
        }
    }
}
