//! Checks the loss, every gradient and the running statistics of a training step against PyTorch's
//! (`golden/make_gradients.py`), on narrow networks whose weights, pixels and labels are hashes.

#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

#[allow(dead_code)] // shared with other tests
#[path = "../../tests/support/hash.rs"]
mod hash;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var, safetensors};
use candle_deeplab::arch::{self, AUXILIARY};
use candle_deeplab::config::Network;
use candle_deeplab::exec::train::{Mode, Training};
use candle_deeplab::graph::Role;
use candle_deeplab_train::loss::{Loss, Recipe};

const BATCH: usize = 2;
const HEIGHT: usize = 33;
const WIDTH: usize = 41;
/// The weight of the auxiliary head's loss.
const AUXILIARY_WEIGHT: f64 = 0.4;
/// Parameters of at most so many numbers have their whole gradient in the golden.
const MOST_WHOLE: usize = 16;
const PROJECTIONS: usize = 4;

/// How far results may be from the golden ones.
struct Tolerance {
    loss: f64,
    /// Relative to the norm of the gradient.
    gradient: f64,
    /// The least norm, since some gradients are zero: those of what a following norm takes away.
    least: f64,
    statistic: f64,
}

/// What one step computes.
struct Step {
    loss: f64,
    /// By name.
    gradients: BTreeMap<String, Vec<f64>>,
    statistics: BTreeMap<String, Vec<f64>>,
}

fn step(network: &Network, image: &str, dtype: DType) -> Step {
    let graph = arch::graph(network).unwrap();
    let tensor = |values: Vec<f32>, shape: &[usize]| {
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    };
    let params = graph.params();
    let var = |param: &candle_deeplab::graph::Param| {
        Var::from_tensor(&tensor(hash::torch(&param.name, &param.shape, 2.0, 2.0), &param.shape)).unwrap()
    };
    let training = Training::new(graph.clone(), params.iter().map(var).collect()).unwrap();

    let pixels = hash::torch(image, &[BATCH * 3 * HEIGHT * WIDTH], 1.0, 1.0).iter().map(|x| x * 10.0).collect();
    let pixels = tensor(pixels, &[BATCH, 3, HEIGHT, WIDTH]);
    let label = |drawn: &f32| {
        let label = ((f64::from(*drawn) * 5.0 + 0.5) * (network.classes + 1) as f64).floor();
        if label as usize >= network.classes { 255 } else { label as u8 }
    };
    let labels = hash::torch("labels", &[BATCH * HEIGHT * WIDTH], 1.0, 1.0).iter().map(label).collect();
    let labels = Tensor::from_vec(labels, (BATCH, HEIGHT, WIDTH), &Device::Cpu).unwrap();

    let mut heads = vec![(graph.logits().unwrap(), 1.0)];
    heads.extend(network.auxiliary.iter().map(|_| (graph.tap(AUXILIARY).unwrap(), AUXILIARY_WEIGHT)));
    let wanted: Vec<_> = heads.iter().map(|(value, _)| *value).collect();
    let pass = training.forward(&pixels, &wanted, &Mode::default()).unwrap();
    let loss = Loss::new(&Recipe::default(), network.classes).unwrap();
    let (mut total, mut seeds) = (0.0, Vec::new());
    for (value, weight) in heads {
        let found = loss.compute(pass.value(value).unwrap(), &labels, network.align_corners, 0).unwrap();
        total += weight * found.loss;
        seeds.push((value, (found.gradient * weight).unwrap()));
    }
    training.apply_statistics(pass.statistics()).unwrap();
    let gradients = pass.backward(seeds).unwrap();

    let numbers = |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap();
    let named = |role: fn(Role) -> bool| params.iter().enumerate().filter(move |(_, param)| role(param.role));
    Step {
        loss: total,
        gradients: named(Role::is_trainable)
            .map(|(i, param)| (param.name.clone(), numbers(gradients[i].as_ref().unwrap())))
            .collect(),
        statistics: named(|role| !role.is_trainable())
            .map(|(i, param)| (param.name.clone(), numbers(training.vars()[i].as_tensor())))
            .collect(),
    }
}

/// A gradient as it is in the golden: whole, or its norm and projections.
fn record(name: &str, gradient: &[f64]) -> Vec<f64> {
    if gradient.len() <= MOST_WHOLE {
        return gradient.to_vec();
    }
    let projection = |i: usize| {
        let onto = hash::torch(&format!("{name}:projection{i}"), &[gradient.len()], 1.0, 1.0);
        onto.into_iter().zip(gradient).map(|(a, b)| f64::from(a) * b).sum()
    };
    std::iter::once(norm(gradient)).chain((0..PROJECTIONS).map(projection)).collect()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// `image` names the pixels.
fn check(name: &str, image: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gradients");
    let network = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
    let network: Network = serde_json::from_slice(&network).unwrap();
    let golden: HashMap<String, Tensor> =
        safetensors::load(folder.join(format!("{name}.safetensors")), &Device::Cpu).unwrap();
    let golden = |part: &str| golden[part].to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
    // The golden was computed in f64. Its gradients are stored in f32, and the weights of our resizes are f32 always.
    let exact = Tolerance { loss: 1e-7, gradient: 1e-5, least: 1e-8, statistic: 1e-6 };
    let single = Tolerance { loss: 1e-5, gradient: 1e-3, least: 1e-3, statistic: 1e-5 };
    for (dtype, tolerance) in [(DType::F64, exact), (DType::F32, single)] {
        let ours = step(&network, image, dtype);
        let off = (ours.loss / golden("loss")[0] - 1.0).abs();
        assert!(off <= tolerance.loss, "{name}, {dtype:?}: the loss is {off:.1e} off");

        let theirs = golden("gradients");
        let (mut rest, mut worst) = (theirs.as_slice(), (0.0, ""));
        for (param, gradient) in &ours.gradients {
            let ours = record(param, gradient);
            let (theirs, more) = rest.split_at(ours.len());
            rest = more;
            let scale = if gradient.len() <= MOST_WHOLE { norm(theirs) } else { theirs[0] };
            let scale = scale.max(tolerance.least);
            let apart = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, worse) / scale;
            if worse(worst.0, apart) != worst.0 {
                worst = (apart, param.as_str());
            }
        }
        assert!(rest.is_empty(), "{name}: parameters are missing");
        println!("{name}, {dtype:?}: loss {off:.1e} off, gradient of {} {:.1e}", worst.1, worst.0);
        assert!(worst.0 <= tolerance.gradient, "{name}, {dtype:?}: the gradient of {} is {:.1e} off", worst.1, worst.0);

        let theirs = golden("statistics");
        let statistics: Vec<f64> = ours.statistics.into_values().flatten().collect();
        assert_eq!(statistics.len(), theirs.len());
        let apart = statistics.iter().zip(&theirs).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
        let apart = apart.fold(0.0, worse);
        println!("{name}, {dtype:?}: running statistics {apart:.1e}");
        assert!(apart <= tolerance.statistic, "{name}, {dtype:?}: running statistics are {apart:.1e} off");
    }
}

/// The greater of two differences; NaN is the worst of all.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b <= a { a } else { b }
}

#[test]
fn narrow_xception() {
    check("xception", "pixels");
}

#[test]
fn narrow_resnet_with_an_auxiliary_head() {
    check("resnet", "pixels1");
}

#[test]
fn narrow_mobilenet_v2() {
    check("mobilenet_v2", "pixels5");
}
