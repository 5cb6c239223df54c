//! `cargo bench -p candle-deeplab --bench kernels`: the fused CPU executor's kernels, each as one layer at the sizes where the networks
//! spend their time (513×513, output stride 16), in every instruction set of the machine. A rate is of multiply-adds.
//!
//! A layer's time is its step's, out of a profile: what the network around it needs is left out.
#![expect(missing_docs, reason = "of criterion's main function")]
#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::sync::Arc;
use std::time::Duration;

use candle_core::{Device, Tensor};
use candle_deeplab::Result;
use candle_deeplab::exec::cpu::{Cpu, StepTime};
use candle_deeplab::exec::{Isa, Precision};
use candle_deeplab::graph::{Activation, Builder, Conv, Graph, Normalization, Padding, Param, Value};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Name, height and width of the map, channels, and the layer.
type Layer = (&'static str, usize, usize, fn(&mut Builder, Value) -> Value);

const LAYERS: &[Layer] = &[
    ("1x1, 728 to 728 at 33", 33, 728, |g, x| conv(g, x, Conv::pointwise(728))),
    ("1x1, 1536 to 2048 at 33", 33, 1536, |g, x| conv(g, x, Conv::pointwise(2048))),
    ("1x1, 64 to 256 at 129", 129, 64, |g, x| conv(g, x, Conv::pointwise(256))),
    ("separable, 728 to 728 at 33", 33, 728, |g, x| separable(g, x, 728, 1)),
    ("separable, 728 to 728 at 33, rate 2", 33, 728, |g, x| separable(g, x, 728, 2)),
    ("separable, 2048 to 256 at 33, rate 12", 33, 2048, |g, x| separable(g, x, 256, 12)),
    ("separable, 128 to 128 at 257", 257, 128, |g, x| separable(g, x, 128, 1)),
    ("3x3, 256 to 256 at 33", 33, 256, |g, x| conv(g, x, Conv::dense(256, 3))),
    ("3x3, 512 to 512 at 33, rate 2", 33, 512, |g, x| conv(g, x, Conv::dense(512, 3).dilation(2))),
    ("3x3, 304 to 256 at 129", 129, 304, |g, x| conv(g, x, Conv::dense(256, 3))),
    ("3x3, 2048 to 256 at 33, rate 18", 33, 2048, |g, x| conv(g, x, Conv::dense(256, 3).dilation(18))),
    ("3x3, 64 to 64 at 257, stride 2", 257, 64, |g, x| conv(g, x, Conv::dense(64, 3).stride(2))),
    ("7x7, 3 to 64 at 513, stride 2", 513, 3, |g, x| conv(g, x, Conv::dense(64, 7).stride(2))),
    ("max pool, 64 at 257", 257, 64, |g, x| g.max_pool(LAYER, x, 3, 2, Padding::Same)),
];

/// The path of the layer that is measured.
const LAYER: &str = "layer";

fn conv(g: &mut Builder, x: Value, conv: Conv) -> Value {
    g.conv_bn_act(LAYER, x, conv.padding(Padding::Same), Activation::Relu)
}

fn separable(g: &mut Builder, x: Value, outputs: usize, rate: usize) -> Value {
    let depthwise = Conv::depthwise(g.channels(x)).dilation(rate).padding(Padding::Same);
    let x = g.conv_bn("depthwise", x, depthwise);
    conv(g, x, Conv::pointwise(outputs))
}

/// The layer between an input and two classes: the executor runs networks that end in logits.
fn network((_, _, channels, layer): &Layer) -> Result<Graph> {
    let (mut g, image) = Builder::new(*channels, Normalization::BatchNorm);
    let x = layer(&mut g, image);
    let logits = g.conv("logits", x, Conv::pointwise(2));
    let output = g.resize(logits, image, true);
    g.finish(output)
}

/// Values around nought for kernels; what a batch norm needs is positive.
fn weight(param: &Param) -> Result<Tensor> {
    let len: usize = param.shape.iter().product();
    let norm = param.shape.len() == 1;
    let value = |i: usize| if norm { 1.0 } else { (i * 7 % 13) as f32 / 64.0 - 0.1 };
    Ok(Tensor::from_vec((0..len).map(value).collect::<Vec<_>>(), param.shape.as_slice(), &Device::Cpu)?)
}

fn is_measured(step: &StepTime) -> bool {
    step.path.starts_with(LAYER)
}

fn kernels(c: &mut Criterion) {
    for isa in Isa::available() {
        let mut group = c.benchmark_group(isa.to_string());
        group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
        for layer in LAYERS {
            let (name, size, channels, _) = *layer;
            let cpu = network(layer)
                .and_then(|graph| Cpu::new(Arc::new(graph), isa, Precision::F32, weight))
                .expect("a valid network");
            let values: Vec<f32> = (0..channels * size * size).map(|i| (i % 509) as f32 / 254.0 - 1.0).collect();
            let input = Tensor::from_vec(values, (1, channels, size, size), &Device::Cpu).expect("a valid input");
            let steps = || cpu.profile(&input).expect("an input that fits").1;
            let macs: u64 = steps().iter().filter(|step| is_measured(step)).map(|step| step.macs).sum();
            assert!(macs > 0 || name.contains("pool"), "{name}: no step is measured");
            group.throughput(Throughput::Elements(macs.max(1)));
            group.bench_function(name, |b| {
                b.iter_custom(|times| {
                    let all = (0..times).flat_map(|_| steps());
                    all.filter(is_measured).map(|step| step.time).sum()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
