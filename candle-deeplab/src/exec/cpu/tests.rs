//! The fused executor against the eager one: convolutions of every kind at random sizes, and everything that is fused.

use std::sync::Arc;

use candle_core::{DType, Device, IndexOp, Tensor};
use proptest::prelude::*;

use super::Cpu;
use super::bands::Limits;
use crate::exec::choice::{Isa, Precision};
use crate::exec::eager::Eager;
use crate::exec::testing::{activations, image, network, paddings, resized_network, weight};
use crate::graph::{Activation, Builder, Conv, Graph, Padding, Param, Value};

/// How far a result may be off, as a share of the greatest value. A bf16 number has 8 bits of mantissa, and much
/// cancels in these networks' sums, so this finds only products that are missing or in the wrong place. The kernels'
/// tests check how exact each matmul is.
fn tolerance(precision: Precision) -> f32 {
    match precision {
        Precision::F32 => 2e-5,
        Precision::Bf16 => 0.1,
    }
}

/// Limits under which every step that can run band by band does, in bands whose maps have at most `floats` floats.
fn bands_of(floats: usize) -> Limits {
    Limits { large: 0, floats, rows: 1, weights: usize::MAX }
}

/// Compares output, logits and label map, for every instruction set and precision, map by map and band by band.
fn check(graph: Graph, size: [usize; 3]) {
    let graph = Arc::new(graph);
    let eager = Eager::new(Graph::clone(&graph), weight).unwrap();
    let image = image(size);
    let wanted = eager.run(&image, &[graph.logits().unwrap(), graph.output()]).unwrap();
    let precisions = [Precision::F32, Precision::Bf16];
    let pairs = Isa::available().flat_map(|isa| precisions.map(|precision| (isa, precision)));
    for (isa, precision) in pairs.filter(|(isa, precision)| isa.supports(*precision)) {
        let mut cpu = Cpu::new(graph.clone(), isa, precision, weight).unwrap();
        for limits in [Limits::usual, || bands_of(2000), || bands_of(8000), || bands_of(usize::MAX)] {
            cpu.limits = limits;
            cpu.plans = Default::default();
            // The second time, memory is reused.
            for _ in 0..2 {
                close(&cpu.logits(&image).unwrap(), &wanted[0], (isa, precision));
                close(&cpu.output(&image).unwrap(), &wanted[1], (isa, precision));
            }
            labels(&cpu.label_map(&image).unwrap(), &wanted[1], precision);
        }
        values(&cpu, &eager, &image);
    }
}

/// Compares every value that the executor has, all at once and one by one, which is how features are asked for.
fn values(cpu: &Cpu, eager: &Eager, image: &Tensor) {
    let there = |node: &Value| cpu.program.fused.places[node.index()].is_some();
    let nodes: Vec<Value> = cpu.graph.values().filter(there).collect();
    assert!(nodes.len() > 1 && nodes.contains(&cpu.graph.logits().unwrap()));
    let (wanted, all) = (eager.run(image, &nodes).unwrap(), cpu.values(image, &nodes).unwrap().unwrap());
    for ((node, wanted), together) in nodes.iter().zip(wanted).zip(all) {
        let alone = cpu.values(image, &[*node]).unwrap().unwrap();
        for ours in [&together, &alone[0]] {
            close(ours, &wanted, (cpu.isa(), cpu.precision()));
        }
    }
}

fn close(ours: &Tensor, reference: &Tensor, (isa, precision): (Isa, Precision)) {
    assert_eq!(ours.dims(), reference.dims());
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let scale = values(reference).iter().fold(1f32, |max, x| max.max(x.abs()));
    for (ours, reference) in values(ours).iter().zip(values(reference)) {
        assert!((ours - reference).abs() <= tolerance(precision) * scale, "{isa}, {precision}: {ours} for {reference}");
    }
}

/// Checks that each pixel's class has the greatest logit, to rounding.
fn labels(labels: &Tensor, logits: &Tensor, precision: Precision) {
    let (n, _, h, w) = logits.dims4().unwrap();
    let best = logits.max(1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let index = labels.to_dtype(DType::U32).unwrap().reshape((n, 1, h, w)).unwrap();
    let chosen = logits.contiguous().unwrap().gather(&index, 1).unwrap().flatten_all().unwrap();
    let scale = best.iter().fold(1f32, |max, x| max.max(x.abs()));
    for (chosen, best) in chosen.to_vec1::<f32>().unwrap().iter().zip(best) {
        assert!(best - chosen <= 2.0 * tolerance(precision) * scale, "{chosen} was chosen over {best}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Odd sizes, one-pixel maps, channel tails, dilations larger than the map, strides, groups, batches.
    #[test]
    fn convolutions_of_any_kind(
        (groups, inputs, outputs, depthwise) in (1usize..4, 1usize..12, 1usize..24, any::<bool>()),
        (kernel, stride, dilation) in (1usize..6, 1usize..4, 1usize..12),
        padding in paddings(),
        size in [1usize..3, 1usize..20, 1usize..20],
        (norm, pre_relu, align) in any::<(bool, bool, bool)>(),
        activation in activations(),
    ) {
        let graph = resized_network(align, |g, image| {
            let inputs = inputs * groups;
            let mut x = g.conv("first", image, Conv::pointwise(inputs));
            if pre_relu {
                x = g.activation(x, Activation::Relu);
            }
            let shape = Conv { kernel, ..if depthwise { Conv::depthwise(inputs) } else { Conv::dense(outputs * groups, kernel) } };
            let conv = Conv { groups: if depthwise { inputs } else { groups }, ..shape }.stride(stride).dilation(dilation);
            let conv = padding.map_or(conv, |padding| conv.padding(padding));
            x = if norm { g.conv_bn("conv", x, conv) } else { g.conv("conv", x, conv.with_bias()) };
            activation.map_or(x, |activation| g.activation(x, activation))
        });
        prop_assume!(graph.sizes(size[1], size[2]).is_ok());
        check(graph, size);
    }

    /// Windows that share inputs with those of the next pixel, and others, on maps of one or more columns, with odd
    /// numbers of channels.
    #[test]
    fn depthwise_convolutions_of_three_columns(
        (channels, stride, dilation) in (1usize..70, 1usize..3, prop_oneof![Just(1usize), Just(1), Just(2), Just(25)]),
        padding in paddings(),
        size in [1usize..3, 1usize..20, 1usize..20],
        (pre_relu, alone) in any::<(bool, bool)>(),
    ) {
        let graph = network(|g, image| {
            let mut x = g.conv("first", image, Conv::pointwise(channels));
            if pre_relu {
                x = g.activation(x, Activation::Relu);
            }
            let conv = Conv::depthwise(channels).stride(stride).dilation(dilation);
            let x = g.conv_bn("depthwise", x, padding.map_or(conv, |padding| conv.padding(padding)));
            if alone { g.activation(x, Activation::HardSwish) } else { g.conv("pointwise", x, Conv::pointwise(9)) }
        });
        prop_assume!(graph.sizes(size[1], size[2]).is_ok());
        check(graph, size);
    }

    /// As in squeeze-and-excitation: one weight for each channel of each image, or one for each element.
    #[test]
    fn products(
        (channels, per_channel, kernel) in (1usize..40, any::<bool>(), prop_oneof![Just(3usize), Just(5)]),
        (before, gate) in (activations(), activations()),
        size in [1usize..3, 1usize..20, 1usize..20],
    ) {
        let graph = network(|g, image| {
            let x = g.conv_bn("first", image, Conv::pointwise(channels));
            let depthwise = Conv { groups: channels, ..Conv::dense(channels, kernel) };
            let x = g.conv_bn("depthwise", x, depthwise.dilation(2));
            let x = before.map_or(x, |activation| g.activation(x, activation));
            let pooled = if per_channel { g.global_pool(x) } else { x };
            let weights = g.conv("gate", pooled, Conv::pointwise(channels).with_bias());
            let weights = gate.map_or(weights, |activation| g.activation(weights, activation));
            let product = g.multiply(x, weights);
            let projected = g.conv_bn("project", product, Conv::pointwise(channels));
            g.add(projected, x)
        });
        check(graph, size);
    }

    #[test]
    fn pools_and_resizes(
        (kernel, stride, align) in (1usize..4, 1usize..4, any::<bool>()),
        padding in prop_oneof![Just(Padding::Same), Just(Padding::Symmetric(0))],
        size in [1usize..3, 1usize..20, 1usize..20],
    ) {
        let graph = network(|g, image| {
            let x = g.conv("first", image, Conv::pointwise(19));
            let pooled = g.max_pool("max", x, kernel, stride, padding);
            let mean = g.global_pool(x);
            let (pooled, mean) = (g.resize(pooled, x, align), g.resize(mean, x, align));
            g.concat(&[pooled, mean, x])
        });
        prop_assume!(graph.sizes(size[1], size[2]).is_ok());
        check(graph, size);
    }
}

/// A value is used with and without its ReLU, as in the units of Xception.
#[test]
fn a_skip_past_the_relu_sees_the_value_without_it() {
    let graph = network(|g, image| {
        let x = g.conv_bn("first", image, Conv::dense(16, 3));
        let separable = |g: &mut Builder, name: &str, x, rate| {
            let x = g.activation(x, Activation::Relu);
            let x = g.conv_bn(&format!("{name}.depthwise"), x, Conv::depthwise(16).dilation(rate));
            g.conv_bn(&format!("{name}.pointwise"), x, Conv::pointwise(16))
        };
        let y = separable(g, "a", x, 1);
        let y = separable(g, "b", y, 9);
        let sum = g.add(y, x);
        let shortcut = g.conv_bn("shortcut", sum, Conv::pointwise(16).stride(2));
        let rectified = g.activation(sum, Activation::Relu);
        let halved = g.conv_bn("halved", rectified, Conv::depthwise(16).stride(2));
        g.add(halved, shortcut)
    });
    check(graph, [2, 13, 9]);
}

#[test]
fn what_cannot_be_fused_is_computed_on_its_own() {
    let graph = network(|g, image| {
        let x = g.conv("first", image, Conv::dense(6, 3));
        let relu = g.activation(x, Activation::Relu);
        let relu6 = g.activation(x, Activation::Relu6);
        let twice = g.add(relu, relu);
        let sum = g.add(twice, relu6);
        // The sum occurs in two concatenations, one inside the other, twice over.
        let inner = g.concat(&[sum, image, sum]);
        let outer = g.concat(&[inner, sum]);
        let after = g.conv_bn_act("after", outer, Conv::pointwise(7), Activation::Relu6);
        let residual = g.conv_bn("residual", after, Conv::depthwise(7));
        let added = g.add(after, residual);
        g.activation(added, Activation::Relu)
    });
    check(graph, [1, 6, 5]);
}

/// A decoder's projection of early features is computed right after them if it has far fewer channels: the features are
/// then never in memory as a whole.
#[test]
fn few_channels_of_early_features_are_made_early() {
    let layers = |few| {
        move |g: &mut Builder, image| {
            let features = g.conv_bn_act("features", image, Conv::dense(24, 3), Activation::Relu);
            let x = g.conv_bn_act("deep", features, Conv::dense(24, 3).stride(2), Activation::Relu);
            let x = g.conv_bn_act("deeper", x, Conv::dense(16, 3), Activation::Relu);
            let low_level = g.conv_bn_act("low_level", features, Conv::pointwise(few), Activation::Relu);
            let x = g.resize(x, low_level, true);
            g.concat(&[x, low_level])
        }
    };
    for (few, order) in
        [(12, ["features", "deep", "low_level", "deeper"]), (13, ["features", "deep", "deeper", "low_level"])]
    {
        let graph = network(layers(few));
        let mut cpu = Cpu::new(Arc::new(graph.clone()), Isa::detect(), Precision::F32, weight).unwrap();
        let (_, steps) = cpu.profile(&image([1, 9, 11])).unwrap();
        let paths: Vec<&str> = steps.iter().map(|step| step.path.as_str()).take(4).collect();
        assert_eq!(paths, order);
        cpu.limits = || bands_of(2000);
        let plan = cpu.plan(([1, 90, 11], vec![cpu.program.fused.logits.map])).unwrap();
        assert!(few > 12 || plan.maps[cpu.program.fused.steps[0].output.map].rows < 90);
        check(graph, [2, 9, 11]);
    }
}

#[test]
fn weights_of_another_shape_are_an_error() {
    let graph = Arc::new(network(|g, image| g.conv_bn("conv", image, Conv::dense(4, 3))));
    let short = |param: &Param| weight(param)?.flatten_all()?.narrow(0, 0, 1).map_err(Into::into);
    let error = Cpu::new(graph, Isa::detect(), Precision::F32, short).unwrap_err().to_string();
    assert!(error.contains("has 1 values instead of"), "{error}");
}

/// More sizes than plans are kept, and many calls at once.
#[test]
fn calls_of_many_sizes_at_once_do_not_disturb_each_other() {
    let graph = Arc::new(network(|g, image| {
        let x = g.conv_bn_act("first", image, Conv::dense(16, 3).stride(2), Activation::Relu);
        let x = g.conv_bn_act("depthwise", x, Conv::depthwise(16), Activation::Relu);
        g.conv_bn_act("pointwise", x, Conv::pointwise(24), Activation::Relu)
    }));
    let cpu = Cpu::new(graph, Isa::detect(), Precision::F32, weight).unwrap();
    let run = |side: usize| cpu.output(&image([1, side, side + 1])).unwrap();
    let alone: Vec<Tensor> = (1..12).map(run).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (side, alone) in (1..12).zip(&alone) {
                    let difference = (run(side) - alone).unwrap().abs().unwrap().max_all().unwrap();
                    assert_eq!(difference.to_scalar::<f32>().unwrap(), 0.0);
                }
            });
        }
    });
}

/// Images of a batch, and tensors that are views.
#[test]
fn a_batch_is_its_images() {
    let graph = Arc::new(network(|g, image| g.conv_bn_act("first", image, Conv::dense(9, 3), Activation::Relu)));
    let cpu = Cpu::new(graph, Isa::detect(), Precision::F32, weight).unwrap();
    let batch = image([3, 7, 8]);
    let together = cpu.logits(&batch).unwrap();
    for n in 0..3 {
        let alone = cpu.logits(&batch.i(n..n + 1).unwrap()).unwrap();
        close(&together.i(n..n + 1).unwrap(), &alone, (cpu.isa(), cpu.precision()));
    }
    let turned = batch.transpose(2, 3).unwrap();
    let copied = turned.contiguous().unwrap();
    close(&cpu.logits(&turned).unwrap(), &cpu.logits(&copied).unwrap(), (cpu.isa(), cpu.precision()));
}

#[test]
fn what_is_no_image_is_an_error() {
    let graph = Arc::new(network(|g, image| g.conv("first", image, Conv::dense(9, 3).padding(Padding::Symmetric(0)))));
    let cpu = Cpu::new(graph, Isa::Portable, Precision::F32, weight).unwrap();
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    for shape in [&[3, 4, 4][..], &[1, 4, 4, 4], &[0, 3, 4, 4], &[1, 3, 0, 4], &[1, 3, 2, 4]] {
        assert!(cpu.logits(&zeros(shape, DType::F32)).is_err(), "{shape:?}");
    }
    assert!(cpu.logits(&zeros(&[1, 3, 4, 4], DType::F64)).is_err());
}

/// Dense 3×3 convolutions as ResNets have them: wide enough for Winograd's form, with a residual.
#[test]
fn wide_convolutions_at_any_rate() {
    let sizes = [[1, 1, 1], [2, 9, 14], [1, 33, 35], [1, 40, 3]];
    wide_convolutions(&[(16, 16), (19, 37), (48, 24)], &[1, 2, 3, 6, 7], &sizes);
}

/// Winograd's algorithm takes at least two vectors of inputs and outputs, with the widest vectors, too.
#[test]
fn convolutions_wide_enough_for_any_vector() {
    wide_convolutions(&[(32, 32), (35, 50)], &[1, 2, 3, 4, 5, 6], &[[2, 5, 14]]);
}

/// Rates at which a plan takes Winograd's patches for some of these sizes, and windows for others.
#[test]
fn wide_convolutions_at_the_rates_of_aspp() {
    let sizes = [[1, 33, 33], [2, 17, 17], [1, 5, 5], [1, 29, 43], [1, 3, 50]];
    wide_convolutions(&[(16, 16), (35, 50)], &[12, 18], &sizes);
}

/// Each group is a convolution of its own.
#[test]
fn wide_groups() {
    let graph = network(|g, image| {
        let x = g.conv_bn_act("first", image, Conv::pointwise(70), Activation::Relu);
        let y = g.conv_bn("conv", x, Conv { groups: 2, ..Conv::dense(74, 3).dilation(2) });
        let skip = g.conv_bn("skip", x, Conv::pointwise(74));
        g.add(y, skip)
    });
    check(graph, [2, 11, 13]);
}

/// The same weights, by Winograd's algorithm where that takes fewer products.
#[test]
fn the_size_decides_the_form() {
    let graph = network(|g, image| {
        let x = g.conv_bn_act("first", image, Conv::pointwise(32), Activation::Relu);
        g.conv_bn("conv", x, Conv::dense(32, 3).dilation(12))
    });
    let graph = Arc::new(graph);
    for isa in Isa::available() {
        let cpu = Cpu::new(graph.clone(), isa, Precision::F32, weight).unwrap();
        let form = |side| {
            let (_, steps) = cpu.profile(&image([1, side, side])).unwrap();
            steps.into_iter().find(|step| step.path == "conv").unwrap().kernel
        };
        let larger = if isa == Isa::Portable { "conv 3×3" } else { "conv 3×3 (Winograd)" };
        assert_eq!([17, 33].map(form), ["conv 3×3", larger], "{isa}");
    }
}

/// Too many patches to be in memory at once, and too many outputs to be computed at once.
#[test]
fn convolutions_in_strips_and_parts() {
    wide_convolutions(&[(304, 33)], &[1], &[[1, 40, 128]]);
}

fn wide_convolutions(channels: &[(usize, usize)], rates: &[usize], sizes: &[[usize; 3]]) {
    for &(inputs, outputs) in channels {
        for &rate in rates {
            for &size in sizes {
                for padding in [Padding::Symmetric(rate), Padding::Symmetric(0), Padding::Symmetric(rate + 2)] {
                    let graph = network(|g, image| {
                        let x = g.conv_bn_act("first", image, Conv::pointwise(inputs), Activation::Relu);
                        let skip = g.conv_bn("skip", x, Conv::pointwise(outputs));
                        let y = g.conv_bn("conv", x, Conv::dense(outputs, 3).dilation(rate).padding(padding));
                        let y = if padding == Padding::Symmetric(rate) { g.add(y, skip) } else { y };
                        g.activation(y, Activation::Relu)
                    });
                    if graph.sizes(size[1], size[2]).is_ok() {
                        check(graph, size);
                    }
                }
            }
        }
    }
}

/// Strassen's algorithm adds rows to other rows.
#[test]
fn nan_stays_in_its_image() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let graph = Arc::new(network(|g, image| {
        let x = g.conv_bn_act("first", image, Conv::pointwise(512), Activation::Relu);
        g.conv_bn("conv", x, Conv::pointwise(512))
    }));
    for isa in Isa::available() {
        let cpu = Cpu::new(graph.clone(), isa, Precision::F32, weight).unwrap();
        let good = image([1, 12, 13]);
        let bad = (&good * f64::NAN).unwrap();
        pool.install(|| {
            let logits = cpu.logits(&Tensor::cat(&[&bad, &good], 0).unwrap()).unwrap();
            close(&logits.i(1..2).unwrap(), &cpu.logits(&good).unwrap(), (isa, Precision::F32));
        });
    }
}

/// Wide enough for Strassen's algorithm, with a depthwise convolution before it and without. There is one thread, so that a
/// block has enough rows.
#[test]
fn wide_pointwise_convolutions() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (inputs, outputs) in [(512, 512), (514, 533)] {
        for size in [[1, 9, 15], [2, 12, 13], [1, 41, 41]] {
            let graph = network(|g, image| {
                let x = g.conv_bn_act("first", image, Conv::pointwise(inputs), Activation::Relu);
                let y = g.conv_bn_act("dense", x, Conv::pointwise(outputs), Activation::Relu6);
                let x = g.conv_bn("depthwise", x, Conv::depthwise(inputs));
                let x = g.conv_bn("pointwise", x, Conv::pointwise(outputs));
                g.add(x, y)
            });
            pool.install(|| check(graph, size));
        }
    }
}

/// The profile counts like the summary: the zeros that pad bf16 words are not multiplied.
#[test]
fn a_profile_counts_the_multiplications_of_the_network() {
    let graph = Arc::new(network(|g, image| {
        let x = g.conv_bn_act("first", image, Conv::dense(27, 3).stride(2), Activation::Relu);
        let grouped = Conv { groups: 3, ..Conv::dense(33, 3) };
        let x = g.conv_bn_act("grouped", x, grouped, Activation::Relu);
        let x = g.conv_bn("depthwise", x, Conv::depthwise(33));
        let x = g.conv_bn("pointwise", x, Conv::pointwise(37));
        let x = g.conv_bn("wide", x, Conv::dense(40, 3));
        g.conv_bn_act("alone", x, Conv::depthwise(40), Activation::HardSwish)
    }));
    for (isa, precision) in [(Isa::detect(), Precision::F32), (Isa::Portable, Precision::Bf16)] {
        let cpu = Cpu::new(graph.clone(), isa, precision, weight).unwrap();
        let (_, steps) = cpu.profile(&image([2, 9, 7])).unwrap();
        let counted: u64 = steps.iter().map(|step| step.macs).sum();
        assert_eq!(counted, 2 * graph.summary(9, 7).unwrap().macs, "{isa}, {precision}");
    }
}
