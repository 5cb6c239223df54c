//! Tests of a loaded model and its clones: what they share, and that threads may call them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod support;

use candle_core::{DType, Device, Module, Tensor};
use candle_deeplab::exec::Isa;
use candle_deeplab::exec::cpu::Cpu;
use candle_deeplab::{DeepLab, Error, Executor, Precision};
use rayon::prelude::*;
use support::golden::distance;
use support::shared::kept;
use tempfile::TempDir;
use weights_convert::{Options, convert};

/// A model directory with the narrow network of the goldens.
fn narrow() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    convert(&kept("xception65_narrow/frozen_inference_graph.pb"), dir.path(), &Options::default(), true).unwrap();
    dir
}

fn pixels(seed: usize) -> Tensor {
    let values: Vec<f32> = (0..3 * 33 * 41).map(|i| ((i * (seed + 7)) % 255) as f32 / 127.5 - 1.0).collect();
    Tensor::from_vec(values, (1, 3, 33, 41), &Device::Cpu).unwrap()
}

/// All threads call the model for the first time at once, which packs the weights, from inside the pool that the calls
/// use.
#[test]
fn the_first_calls_may_come_from_all_threads_of_a_pool() {
    let (dir, images) = (narrow(), (0..12).map(pixels).collect::<Vec<_>>());
    let alone = DeepLab::load(dir.path(), &Device::Cpu).unwrap();
    let wanted: Vec<Tensor> = images.iter().map(|image| alone.forward(image).unwrap()).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for _ in 0..5 {
        let model =
            DeepLab::load(dir.path(), &Device::Cpu).unwrap().with_executor(Executor::Cpu(Isa::detect())).unwrap();
        let call = |image: &Tensor| (model.forward(image).unwrap(), packed(&model));
        let answers: Vec<(Tensor, &Cpu)> = pool.install(|| images.par_iter().with_max_len(1).map(call).collect());
        for ((answer, cpu), wanted) in answers.iter().zip(&wanted) {
            assert!(distance(answer, wanted) <= 1e-5);
            assert!(std::ptr::eq(*cpu, answers[0].1), "the weights were packed again");
        }
    }
}

fn packed(model: &DeepLab) -> &Cpu {
    model.fused().unwrap().unwrap()
}

#[test]
fn packed_weights_are_shared_where_nothing_about_them_changes() {
    let dir = narrow();
    let model = DeepLab::load(dir.path(), &Device::Cpu).unwrap().with_executor(Executor::Cpu(Isa::detect())).unwrap();
    let first = packed(&model);
    let same = model.with_executor(Executor::Cpu(Isa::detect())).unwrap().with_precision(Precision::F32).unwrap();
    assert!(std::ptr::eq(first, packed(&same)));
    // If `Auto` chooses a fused executor, it is the same one.
    if let Some(auto) = model.with_executor(Executor::Auto).unwrap().fused().unwrap() {
        assert!(std::ptr::eq(first, auto));
    }
    let portable = model.with_executor(Executor::Cpu(Isa::Portable)).unwrap();
    assert_eq!(packed(&portable).isa(), Isa::Portable);
    let rounded = portable.with_precision(Precision::Bf16).unwrap();
    assert_eq!(packed(&rounded).precision(), Precision::Bf16);
    assert!(model.with_executor(Executor::Eager).unwrap().fused().unwrap().is_none());
    // Another output stride has other atrous rates and other weights in Winograd's form.
    assert!(!std::ptr::eq(first, packed(&model.at_output_stride(8).unwrap())));
}

#[test]
fn precision_beyond_what_an_executor_computes_is_refused() {
    let dir = narrow();
    let model = DeepLab::load(dir.path(), &Device::Cpu).unwrap();
    let eager = model.with_executor(Executor::Eager).unwrap();
    assert!(matches!(eager.with_precision(Precision::Bf16), Err(Error::Executor(reason)) if reason.contains("eager")));
    let doubles = pixels(0).to_dtype(DType::F64).unwrap();
    let error = model.logits(&doubles).unwrap_err();
    assert!(matches!(error, Error::Dtype { expected: DType::F32, actual: DType::F64 }), "{error}");
    assert!(error.to_string().contains("`pixels.to_dtype(DType::F32)`"), "{error}");
    // The same error through candle's `Module` trait.
    assert!(matches!(Error::from(model.forward(&doubles).unwrap_err()), Error::Dtype { .. }));
}
