//! Whole plans, run by the kernels as C++, against the eager executor. Memory is full of NaN before a call, so that what
//! is read before it is written does not go unnoticed.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use image::{Rgb, RgbImage};
use proptest::prelude::*;

use super::super::ends::{Images, Source};
use super::super::kernels::Number;
use super::super::pack::Program;
use super::super::plan::{Answer, Bases, Plan, Request};
use super::host::{Host, Memory, host, numbers};
use crate::arch;
use crate::config::{Backbone, Config, Filter, Preprocessing, SizeRule};
use crate::error::Result;
use crate::exec::choice::GpuPrecision;
use crate::exec::eager::Eager;
use crate::exec::fold;
use crate::exec::fuse::Operand;
use crate::exec::testing::{activations, image, network, paddings, resized_network, weight};
use crate::graph::{Activation, Axis, Builder, Conv, Graph, Padding, Param, Role, Size, Value};
use crate::upsample::{Logits, label_map, winners};
use crate::weights::Values;

const PRECISIONS: [GpuPrecision; 3] = [GpuPrecision::F32, GpuPrecision::F16, GpuPrecision::Bf16];

/// How far a result may be off, as a share of the greatest value. In 16 bits every map is rounded, and much cancels in
/// these networks' sums, so this finds only what is missing or in the wrong place.
fn tolerance(precision: GpuPrecision) -> f32 {
    match precision {
        GpuPrecision::F32 | GpuPrecision::Tf32 => 2e-5,
        GpuPrecision::F16 => 0.03,
        GpuPrecision::Bf16 => 0.2,
    }
}

/// Where the values of a parameter come from.
type Weights = fn(&Param) -> Result<Tensor>;

/// Weights that keep the values of a deep network as they are, on the whole: He et al. 2015.
fn tame(param: &Param) -> Result<Tensor> {
    let inputs: usize = param.shape.iter().skip(1).product();
    let scale = if param.role == Role::Kernel { (6.0 / inputs as f64).sqrt() } else { 1.0 };
    Ok((weight(param)? * scale)?)
}

/// A packed network on the stand-in for a GPU.
struct Network {
    host: &'static Host,
    graph: Arc<Graph>,
    program: Program,
    weights: Memory,
}

/// A call's memory afterwards.
struct Call<'a> {
    network: &'a Network,
    plan: Plan,
    arena: Memory,
    bases: Bases,
}

impl Network {
    fn new(host: &'static Host, graph: Arc<Graph>, weights: Weights, precision: GpuPrecision) -> Self {
        let get = |param: &Param| Values::of(&weights(param)?);
        let (program, bytes) = Program::new(&graph, precision, &fold::reader(&graph, get)).unwrap();
        Self { host, graph, program, weights: Memory::of(&bytes) }
    }

    /// Runs a plan on a source.
    fn call(&mut self, request: &Request, source: &[u8]) -> Call<'_> {
        let plan = Plan::new(&self.program, &self.graph, request).unwrap();
        let (mut arena, mut tables) = (Memory::new(plan.bytes), Memory::of(&plan.tables));
        arena.bytes_mut()[plan.source.clone()].copy_from_slice(source);
        let [arena_at, weights, tables_at] =
            [arena.address(), self.weights.address(), tables.address()].map(|address| address.0);
        let bases = Bases { arena: arena_at, weights, tables: tables_at };
        // SAFETY: the arena, the weights and the tables are as large as the plan says.
        unsafe { self.host.run(&plan.works_at(bases)) };
        Call { network: self, plan, arena, bases }
    }

    /// Computes maps from preprocessed pixels.
    fn maps(&mut self, pixels: &Tensor, maps: Vec<usize>) -> Call<'_> {
        let (batch, _, height, width) = pixels.dims4().unwrap();
        let input = Size::new(height, width);
        let request = Request { batch, input, source: Source::Planes, answer: Answer::Maps(maps) };
        self.call(&request, &bytes_of(pixels))
    }

    /// The classes of preprocessed pixels.
    fn labels(&mut self, pixels: &Tensor) -> Vec<u8> {
        let (batch, _, height, width) = pixels.dims4().unwrap();
        let input = Size::new(height, width);
        let answer = Answer::Labels { valid: input, image: input };
        let request = Request { batch, input, source: Source::Planes, answer };
        self.call(&request, &bytes_of(pixels)).labels()
    }
}

impl Call<'_> {
    /// A map as a tensor, resized.
    fn planes(&self, place: Operand, (to, align_corners): (Size, bool), images: usize) -> Tensor {
        let mut planes = Memory::new(images * place.channels * to.area() * size_of::<f32>());
        let launch = self.plan.to_planes(place, (to, align_corners), self.bases, planes.address().0);
        // SAFETY: the planes are as large as the map and the size say, and the arena is that of the plan.
        unsafe { self.network.host.launch(&launch) };
        let shape = (images, place.channels, to.height, to.width);
        Tensor::from_vec(numbers(Number::F32, planes.bytes()), shape, &Device::Cpu).unwrap()
    }

    /// A map as a tensor, as it is.
    fn value(&self, place: Operand, images: usize) -> Tensor {
        self.planes(place, (self.plan.size_of(place), true), images)
    }

    /// The classes, if all logits were finite.
    fn labels(&self) -> Vec<u8> {
        let bytes = &self.arena.bytes()[self.plan.labels.clone()];
        let (not_finite, labels) = bytes.split_last().unwrap();
        assert_eq!(*not_finite, 0);
        labels.to_vec()
    }
}

fn floats(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn bytes_of(pixels: &Tensor) -> Vec<u8> {
    floats(pixels).into_iter().flat_map(f32::to_ne_bytes).collect()
}

fn close(ours: &Tensor, reference: &Tensor, precision: GpuPrecision) {
    assert_eq!(ours.dims(), reference.dims());
    let scale = floats(reference).iter().fold(1f32, |max, x| max.max(x.abs()));
    for (ours, reference) in floats(ours).iter().zip(floats(reference)) {
        assert!((ours - reference).abs() <= tolerance(precision) * scale, "{precision}: {ours} for {reference}");
    }
}

/// Compares all values, logits, output and classes, in every precision.
fn check(graph: Graph, size: [usize; 3]) {
    check_with(graph, weight, size);
}

fn check_with(graph: Graph, weights: Weights, size: [usize; 3]) {
    let Some(host) = host() else { return };
    let graph = Arc::new(graph);
    let eager = Eager::new(Graph::clone(&graph), weights).unwrap();
    let (pixels, input) = (image(size), Size::new(size[1], size[2]));
    for precision in PRECISIONS {
        let mut network = Network::new(host, graph.clone(), weights, precision);
        let fused = &network.program.fused;
        let (logits, align_corners) = (fused.logits, fused.output.align_corners);
        let nodes: Vec<Value> = graph.values().filter(|node| fused.places[node.index()].is_some()).collect();
        let places: Vec<Operand> = nodes.iter().filter_map(|node| fused.places[node.index()]).collect();

        let wanted = eager.run(&pixels, &nodes).unwrap();
        let call = network.maps(&pixels, places.iter().map(|place| place.map).collect());
        for (place, wanted) in places.iter().zip(&wanted) {
            close(&call.value(*place, size[0]), wanted, precision);
        }

        let call = network.maps(&pixels, vec![logits.map]);
        let ours = call.value(logits, size[0]);
        let wanted = eager.run(&pixels, &[graph.logits().unwrap(), graph.output()]).unwrap();
        close(&ours, &wanted[0], precision);
        close(&call.planes(logits, (input, align_corners), size[0]), &wanted[1], precision);

        // From the same logits, the classes are the same to the last bit.
        let (_, classes, height, width) = ours.dims4().unwrap();
        let axes = (Axis::new(height, size[1], align_corners), Axis::new(width, size[2], align_corners));
        let values = floats(&ours);
        let wanted = values.chunks(classes * height * width).flat_map(|data| {
            let mut ids = vec![0; input.area()];
            let size = Size::new(height, width);
            winners(&Logits { data, classes, size, class_stride: size.area(), row_stride: width }, &axes, &mut ids);
            ids
        });
        let wanted: Vec<u8> = wanted.collect();
        assert_eq!(network.labels(&pixels), wanted, "{precision}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

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

    /// As in squeeze-and-excitation: one weight for each channel of each image, or one for each element.
    #[test]
    fn products(
        (channels, per_channel) in (1usize..40, any::<bool>()),
        (before, gate) in (activations(), activations()),
        size in [1usize..3, 1usize..20, 1usize..20],
    ) {
        let graph = network(|g, image| {
            let x = g.conv_bn("first", image, Conv::pointwise(channels));
            let x = g.conv_bn("depthwise", x, Conv::depthwise(channels).dilation(2));
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

    /// Parts of a concatenation that begin within a group of channels, and such that do not.
    #[test]
    fn pools_resizes_and_concatenations(
        (kernel, stride, align, channels) in (1usize..4, 1usize..4, any::<bool>(), 1usize..20),
        padding in prop_oneof![Just(Padding::Same), Just(Padding::Symmetric(0))],
        size in [1usize..3, 1usize..20, 1usize..20],
    ) {
        let graph = network(|g, image| {
            let x = g.conv("first", image, Conv::pointwise(channels));
            let pooled = g.max_pool("max", x, kernel, stride, padding);
            let mean = g.global_pool(x);
            let (pooled, mean) = (g.resize(pooled, x, align), g.resize(mean, x, align));
            let dense = g.conv_bn_act("dense", x, Conv::dense(channels, 3), Activation::Relu6);
            g.concat(&[pooled, dense, mean, x])
        });
        prop_assume!(graph.sizes(size[1], size[2]).is_ok());
        check(graph, size);
    }
}

/// A value is used with and without its ReLU, as in the units of Xception, with skips of both kinds.
#[test]
fn units_with_skips() {
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
        let inner = g.concat(&[sum, image, sum]);
        let outer = g.concat(&[inner, sum]);
        let after = g.conv_bn_act("after", outer, Conv::pointwise(7), Activation::Relu6);
        let residual = g.conv_bn("residual", after, Conv::depthwise(7));
        let added = g.add(after, residual);
        g.activation(added, Activation::Relu)
    });
    check(graph, [1, 6, 5]);
}

/// The architectures, small: every kind of step where it occurs.
#[test]
fn whole_networks() {
    for backbone in [Backbone::mobilenet_v2(0.25), Backbone::mobilenet_v3_large()] {
        let config = Config::deeplabv3plus(backbone, 5);
        check_with(arch::graph(&config.network).unwrap(), tame, [1, 33, 41]);
    }
}

/// Images of 8 bits a channel: what the CPU makes of them, and classes at the size of the image.
#[test]
fn images_become_classes_of_their_own_size() {
    let Some(host) = host() else { return };
    let preprocessing = Preprocessing {
        mean: [120.0, 110.0, 100.0],
        std: [60.0, 59.0, 58.0],
        pad_value: [120.0, 0.0, 255.0],
        size: SizeRule::Native { height: 1, width: 1 },
        filter: Filter::Bilinear,
    };
    let graph = Arc::new(network(|g, image| {
        let x = g.conv_bn_act("first", image, Conv::dense(16, 3).stride(2), Activation::Relu);
        g.conv_bn_act("second", x, Conv::dense(16, 3).stride(2), Activation::Relu)
    }));
    let mut network = Network::new(host, graph, weight, GpuPrecision::F32);
    let (logits, align_corners) = (network.program.fused.logits, network.program.fused.output.align_corners);
    let pictures: Vec<RgbImage> = (0..2).map(picture).collect();
    let source: Vec<u8> = pictures.iter().flat_map(|picture| picture.as_raw().clone()).collect();
    let of = |height, width| Size::new(height, width);
    for (valid, input) in [(of(23, 31), of(23, 31)), (of(23, 31), of(29, 33)), (of(17, 40), of(20, 41))] {
        let images = Source::Images(Images::new(&preprocessing, of(23, 31), valid));
        let request = |answer| Request { batch: 2, input, source: images.clone(), answer };
        let found = network.call(&request(Answer::Labels { valid, image: of(23, 31) }), &source).labels();

        let padded = Preprocessing {
            size: SizeRule::Native { height: input.height, width: input.width },
            ..preprocessing.clone()
        };
        let prepared = pictures.iter().map(|picture| {
            let picture = padded.resize(picture, valid).into_owned();
            padded.prepare(&picture, &Device::Cpu).unwrap().pixels
        });
        let pixels = Tensor::cat(&prepared.collect::<Vec<_>>(), 0).unwrap();
        // The network's input, to the last bit.
        let call = network.call(&request(Answer::Maps(vec![0])), &source);
        let place = Operand { map: 0, offset: 0, channels: 3 };
        assert_eq!(floats(&call.value(place, 2)), floats(&pixels));
        let call = network.maps(&pixels, vec![logits.map]);
        let output = floats(&call.planes(logits, (input, align_corners), 2));
        let wanted = output.chunks(5 * input.area()).flat_map(|data| {
            let strides = (input.area(), input.width);
            let seen = Logits { data, classes: 5, size: valid, class_stride: strides.0, row_stride: strides.1 };
            label_map(&seen, of(23, 31))
        });
        assert_eq!(found, wanted.collect::<Vec<u8>>(), "{valid} in {input}");
    }
}

fn picture(index: u32) -> RgbImage {
    RgbImage::from_fn(31, 23, |x, y| Rgb([(8 * x + index) as u8, (11 * y) as u8, (x * y + 40 * index) as u8]))
}

/// Pixels that are not numbers are an error, not a map of the first class.
#[test]
fn logits_that_are_not_finite_are_noticed() {
    let Some(host) = host() else { return };
    let graph = Arc::new(network(|g, image| g.conv_bn("first", image, Conv::dense(8, 3))));
    let mut network = Network::new(host, graph, weight, GpuPrecision::Bf16);
    let input = Size::new(5, 6);
    let answer = Answer::Labels { valid: input, image: input };
    let request = Request { batch: 1, input, source: Source::Planes, answer };
    let pixels = Tensor::full(f32::NAN, (1, 3, 5, 6), &Device::Cpu).unwrap();
    let call = network.call(&request, &bytes_of(&pixels));
    assert_eq!(call.arena.bytes()[call.plan.labels.end - 1], 1);
}
