//! Times training steps (forward, loss, backward, SGD) of the network in a file: `step NETWORK.json HEIGHTxWIDTH BATCH STEPS`.
//!
//! Prints one JSON object. `benches/peers/train.py` runs it beside PyTorch; weights, pixels and labels are hashes that
//! both know, so that the losses of the first step must agree.

#[allow(dead_code, clippy::unwrap_used)] // shared with the tests
#[path = "../../tests/support/hash.rs"]
mod hash;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor, Var};
use candle_deeplab::arch;
use candle_deeplab::config::Network;
use candle_deeplab::exec::train::{Mode, Training};
use candle_deeplab::graph::{Graph, Op};
use candle_deeplab_train::loss::{self, Loss};
use candle_deeplab_train::optim::{self, Grouping, Optimizer};
use serde_json::json;

/// As in the program.
#[global_allocator]
static ALLOCATOR: candle_deeplab::Recycling = candle_deeplab::Recycling::new();

/// Steps that are not timed.
const WARM_UP: usize = 2;
const RATE: f64 = 1e-3;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, size, batch, steps] = &arguments[..] else {
        return Err("usage: step NETWORK.json HEIGHTxWIDTH BATCH STEPS".into());
    };
    let (height, width) = size.split_once('x').ok_or("a size is HEIGHTxWIDTH")?;
    let (height, width, batch): (usize, usize, usize) = (height.parse()?, width.parse()?, batch.parse()?);
    let steps: usize = steps.parse()?;

    let network: Network = serde_json::from_slice(&std::fs::read(network)?)?;
    let graph = arch::graph(&network)?;
    let logits = graph.logits().ok_or("the network has no head")?;
    let mut vars = Vec::new();
    for param in graph.params() {
        let values = hash::torch(&param.name, &param.shape, 2.0, 2.0);
        vars.push(Var::from_tensor(&Tensor::from_vec(values, param.shape, &Device::Cpu)?)?);
    }
    let training = Training::new(graph.clone(), vars.clone())?;
    let groups = optim::groups(&graph, &Grouping::default());
    let mut optimizer = Optimizer::new(&optim::Recipe::default(), vars, groups)?;
    let loss = Loss::new(&loss::Recipe::default(), network.classes)?;

    let pixels: Vec<f32> =
        hash::torch("pixels", &[batch * 3 * height * width], 1.0, 1.0).iter().map(|x| x * 10.0).collect();
    let pixels = Tensor::from_vec(pixels, (batch, 3, height, width), &Device::Cpu)?;
    // Squares of 16 pixels, in turn of each class and of none.
    let class = |at: usize| ((at / width % height) / 16 + (at % width) / 16) % (network.classes + 1);
    let labels: Vec<u8> = (0..batch * height * width)
        .map(|at| if class(at) == network.classes { 255 } else { class(at) as u8 })
        .collect();
    let labels = Tensor::from_vec(labels, (batch, height, width), &Device::Cpu)?;

    let (mut times, mut losses) = (Vec::new(), Vec::new());
    let mut profile: BTreeMap<String, [Duration; 2]> = BTreeMap::new();
    for step in 0..WARM_UP + steps {
        let start = Instant::now();
        let pass = training.forward(&pixels, &[logits], &Mode::default())?;
        let output = pass.value(logits).ok_or("the logits were not computed")?;
        let before_loss = Instant::now();
        let found = loss.compute(output, &labels, network.align_corners, step)?;
        let loss_time = before_loss.elapsed();
        training.apply_statistics(pass.statistics())?;
        let forward_times = pass.times().to_vec();
        let (gradients, backward_times) = pass.backward_timed(vec![(logits, found.gradient)])?;
        let before_update = Instant::now();
        optimizer.step(&gradients, RATE)?;
        let update_time = before_update.elapsed();
        losses.push(found.loss);
        if step < WARM_UP {
            continue;
        }
        times.push(start.elapsed());
        for (index, (forward, backward)) in forward_times.into_iter().zip(backward_times).enumerate() {
            let of_kind = profile.entry(kind(&graph, index)).or_default();
            of_kind[0] += forward;
            of_kind[1] += backward;
        }
        profile.entry("loss".into()).or_default()[0] += loss_time;
        profile.entry("update".into()).or_default()[0] += update_time;
    }
    times.sort();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let mean = |times: [Duration; 2]| times.map(|time| milliseconds(time) / steps as f64);
    let profile: BTreeMap<String, [f64; 2]> = profile.into_iter().map(|(kind, times)| (kind, mean(times))).collect();
    println!(
        "{}",
        json!({
            "median_ms": times.get(times.len() / 2).copied().map(milliseconds),
            "min_ms": times.first().copied().map(milliseconds),
            "first_loss": losses.first(),
            "last_loss": losses.last(),
            "profile_ms": profile,
        })
    );
    Ok(())
}

/// The kind of a node. A batch norm is part of its activation, where there is one.
fn kind(graph: &Graph, index: usize) -> String {
    let node = &graph.nodes()[index];
    let before = node.inputs.first().map(|x| graph.node(*x));
    match node.op {
        Op::Conv(conv) => {
            let shape = match conv.groups {
                1 if conv.kernel == 1 => "1×1".to_owned(),
                1 => format!("{0}×{0}", conv.kernel),
                _ => format!("depthwise {0}×{0}", conv.kernel),
            };
            let stride = if conv.stride > 1 { ", strided" } else { "" };
            format!("convolution {shape}{stride}")
        }
        Op::BatchNorm { .. } => "batch norm".into(),
        Op::Activation(_) if before.is_some_and(|node| matches!(node.op, Op::BatchNorm { .. })) => {
            "batch norm with activation".into()
        }
        Op::Activation(_) => "activation".into(),
        Op::Resize { .. } => "resize".into(),
        op => format!("{op:?}").to_lowercase().split(['(', ' ']).next().unwrap_or_default().to_owned(),
    }
}
