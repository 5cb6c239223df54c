//! Checks the fused executor on a GPU, and the depthwise kernels of the eager one, against goldens of the original code
//! bases and against the CPU. It needs a GPU, so it is ignored unless asked for: `benches/gpu.sh` does. `tests/cuda/build.sh`
//! stands in for one, except for the eager executor.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod support;

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use candle_deeplab::exec::GpuPrecision;
use candle_deeplab::graph::{Padding, Size, Window};
use candle_deeplab::segment::Wanted;
use candle_deeplab::{DeepLab, Executor, Segmenter, ops};
use image::DynamicImage;
use support::golden::{FUSED_TOLERANCE, Golden, distance};
use support::hash;
use support::shared::shared;
use weights_convert::Options;

/// The photograph of `candle-deeplab demo`.
const CAT: &[u8] = include_bytes!("../candle-deeplab-cli/assets/cat.jpg");

/// The variable that names a folder for the converted networks, which other tools then run.
const MODELS: &str = "PARITY_MODELS";

fn gpu() -> Device {
    Device::new_cuda(0).expect("a GPU")
}

/// A trained network: the one that is part of the library.
fn trained(device: &Device) -> DeepLab {
    let config = include_str!("../candle-deeplab/assets/bundled/config.json");
    let weights = include_bytes!("../candle-deeplab/assets/bundled/model.safetensors");
    DeepLab::from_embedded("bundled", config, weights, device).unwrap()
}

/// The least share of pixels that must have the same class as on the CPU in f32. The goldens' weights are made up, and their
/// best two classes so close to each other that bf16 changes 2 % even with f32 between the layers.
fn least_agreement(precision: GpuPrecision) -> f64 {
    match precision {
        GpuPrecision::F32 => 0.999,
        GpuPrecision::Bf16 => 0.95,
        _ => 0.99,
    }
}

/// The share of pixels that have the same class in both label maps.
fn agreement(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

fn ids(labels: &Tensor) -> Vec<u8> {
    labels.flatten_all().unwrap().to_vec1().unwrap()
}

/// Converts a network with the weights that `write` makes, and loads it from a folder twice: onto the CPU and onto a GPU.
fn models(name: &str, options: &Options, write: impl FnOnce(&Path)) -> [DeepLab; 2] {
    let dir = tempfile::tempdir().unwrap();
    let kept = std::env::var_os(MODELS).map(|folder| Path::new(&folder).join(name));
    let (checkpoint, out) = (dir.path().join("checkpoint.safetensors"), kept.unwrap_or(dir.path().join("model")));
    write(&checkpoint);
    weights_convert::convert(&checkpoint, &out, options, true).unwrap();
    [Device::Cpu, gpu()].map(|device| DeepLab::load(&out, &device).unwrap())
}

/// Compares logits with a golden, and classes with those of the CPU, in every precision. The first call of a size runs plain
/// launches, the second is recorded, and the third replays the recording.
fn check(name: &str, [cpu, gpu]: [DeepLab; 2], input: &Tensor, logits: &Tensor) {
    let (exact, on_gpu) = (cpu.label_map(input).unwrap(), input.to_device(gpu.device()).unwrap());
    let exact = ids(&exact);
    for precision in [GpuPrecision::F32, GpuPrecision::Tf32, GpuPrecision::F16, GpuPrecision::Bf16] {
        let fused = gpu.with_executor(Executor::CudaFused(precision)).unwrap();
        let ours = fused.logits(&on_gpu).unwrap().to_device(&Device::Cpu).unwrap();
        let off = distance(&ours, logits);
        let found: Vec<Vec<u8>> = (0..3).map(|_| ids(&fused.label_map(&on_gpu).unwrap())).collect();
        let agreeing = agreement(&found[0], &exact);
        println!("{name}, {precision}: logits {off:.1e} standard deviations off, {agreeing:.4} of the classes alike");
        assert!(found[1] == found[0] && found[2] == found[0], "{name}, {precision}: a recorded call differs");
        assert!(precision != GpuPrecision::F32 || off <= FUSED_TOLERANCE, "{name}: {off:.1e} standard deviations off");
        assert!(agreeing >= least_agreement(precision), "{name}, {precision}: {agreeing} of the classes agree");
    }
}

fn tensorflow(name: &str, options: &Options) {
    let Some(folder) = shared(&format!("reference/tf/{name}")) else { return };
    let golden = Golden::open(&folder.join("golden.safetensors"));
    let models = models(name, options, |to| hash::write_tensorflow(&folder.join("names.json"), to));
    check(name, models, &golden.nchw("preprocessed_input"), &golden.nchw("logits"));
}

fn torch(name: &str, options: &Options) {
    let Some(folder) = shared(&format!("reference/torch/{name}")) else { return };
    let golden = Golden::open(&folder.join("golden.safetensors"));
    let models = models(name, options, |to| hash::write_torch(&folder.join("names.json"), to));
    check(name, models, golden.get("input"), golden.get("logits_head"));
}

#[test]
#[ignore = "needs a GPU"]
fn goldens_of_tensorflow() {
    let at_8 = Options { output_stride: Some(8), ..Options::default() };
    for name in ["xception65_voc_os16", "xception71_cityscapes_os16", "resnet101beta_voc_os16", "mobilenetv2_voc_os16"]
    {
        tensorflow(name, &Options::default());
    }
    tensorflow("mobilenetv2_dm05_voc_os8", &at_8);
    tensorflow("resnet50_voc_os16", &Options::default());
}

#[test]
#[ignore = "needs a GPU"]
fn goldens_of_pytorch() {
    let at_8 = Options { output_stride: Some(8), ..Options::default() };
    for name in ["vainf_v3plus_resnet101_os16_voc", "smp_v3plus_tu-xception65_os16", "jf_xception_os16_voc"] {
        torch(name, &Options::default());
    }
    torch("vainf_v3_resnet101_os8_voc", &at_8);
}

/// A trained network and a photograph: pixels in, classes at the photograph's size out.
#[test]
#[ignore = "needs a GPU"]
fn a_photograph_has_the_classes_that_it_has_on_the_cpu() {
    let photo: DynamicImage = image::load_from_memory(CAT).unwrap();
    let cpu = Segmenter::new(trained(&Device::Cpu)).segment(&photo).unwrap();
    for precision in [GpuPrecision::F32, GpuPrecision::F16, GpuPrecision::Bf16] {
        let model = trained(&gpu());
        let fused = Segmenter::new(model.with_executor(Executor::CudaFused(precision)).unwrap());
        for _ in 0..3 {
            let found = fused.segment(&photo).unwrap();
            let agreeing = agreement(found.ids(), cpu.ids());
            println!("cat, {precision}: {agreeing:.4} of the classes alike");
            assert!(agreeing >= 0.99, "{precision}: {agreeing} of the classes agree");
        }
        for found in fused.run_batch(vec![photo.to_rgb8(); 3], Wanted::LabelMap) {
            assert!(agreement(found.unwrap().segmentation.ids(), cpu.ids()) >= 0.99);
        }
    }
}

/// Sizes in turn, from several threads, whose streams differ.
#[test]
#[ignore = "needs a GPU"]
fn calls_from_several_threads_do_not_disturb_each_other() {
    let model = trained(&gpu());
    let fused = model.with_executor(Executor::CudaFused(GpuPrecision::F32)).unwrap();
    let run = |side: usize| {
        let values: Vec<f32> = (0..3 * side * side).map(|i| (i % 509) as f32 / 254.0 - 1.0).collect();
        let pixels = Tensor::from_vec(values, (1, 3, side, side), fused.device()).unwrap();
        ids(&fused.label_map(&pixels).unwrap())
    };
    let sides = [129, 65, 257, 97];
    let alone = sides.map(run);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    sides.iter().zip(&alone).for_each(|(side, alone)| assert_eq!(run(*side), *alone));
                }
            });
        }
    });
    assert!(fused.warm_up(Size::new(33, 33)).is_ok());
}

/// With `CANDLE_DEEPLAB_CUDA_DEPTHWISE=1`: the result, and both gradients through candle's autograd.
#[test]
#[ignore = "needs a GPU"]
fn depthwise_convolutions_of_the_eager_executor() {
    let device = gpu();
    for (kernel, stride, dilation, rows, columns) in
        [(3, 1, 1, 33, 31), (3, 2, 1, 32, 33), (3, 1, 12, 33, 33), (5, 2, 3, 20, 9)]
    {
        let window = |side| Window::new(side, kernel, stride, dilation, Padding::Same).unwrap();
        let windows = (window(rows), window(columns));
        let value = |shape: &[usize], device: &Device| {
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|i: usize| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
            Tensor::from_vec(values, shape, device).unwrap()
        };
        let results = |device: &Device| {
            let x = Var::from_tensor(&value(&[2, 24, rows, columns], device)).unwrap();
            let weights = Var::from_tensor(&value(&[24, 1, kernel, kernel], device)).unwrap();
            let y = ops::conv2d(&x, &weights, 24, windows).unwrap();
            let gradients = (&y * &y).unwrap().sum_all().unwrap().backward().unwrap();
            let on_cpu = |t: &Tensor| t.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
            [&y, gradients.get(&x).unwrap(), gradients.get(&weights).unwrap()].map(on_cpu)
        };
        for (ours, wanted) in results(&device).iter().zip(&results(&Device::Cpu)) {
            let off = distance(ours, wanted);
            assert!(
                off <= 1e-4,
                "{kernel}×{kernel} at stride {stride}, rate {dilation}: {off:.1e} standard deviations off"
            );
        }
    }
}
