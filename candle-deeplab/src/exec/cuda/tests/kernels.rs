//! Every kernel against the operation that it replaces, at random shapes, in every kind of number, in memory whose
//! surroundings must not change.

use candle_core::{DType, Device, Tensor};
use image::{Rgb, RgbImage};
use proptest::prelude::*;

use super::super::ends::Images;
use super::super::kernels::*;
use super::super::lower::axes;
use super::super::resample::Table;
use super::host::{Host, Memory, host, numbers};
use crate::config::{Filter, Preprocessing, SizeRule};
use crate::exec::fuse::Clamp;
use crate::graph::{self, Activation, Padding, Size};
use crate::ops::{self, testing::hashed};
use crate::upsample::{self, winners};

const NUMBERS: [Number; 3] = [Number::F32, Number::F16, Number::Bf16];

/// The value around a result, which must not change. All kinds of numbers have it.
const UNTOUCHED: f32 = 776.0;

/// How far results may be off, relative to the greatest value, or to 1.
fn tolerance(number: Number) -> f64 {
    match number {
        Number::F32 => 4e-6,
        Number::F16 => 2e-3,
        Number::Bf16 => 1.6e-2,
    }
}

/// Where a map lies in its memory.
#[derive(Debug, Clone, Copy)]
struct Spacing {
    /// Whether channels are read and written in groups of 8.
    groups: bool,
    /// Channels before and after those of the map: of others, so as many groups where groups are written.
    beside: [usize; 2],
    /// Columns and rows beyond those of the map.
    beyond: [usize; 2],
}

/// Some channels of a larger map.
struct Map {
    number: Number,
    memory: Memory,
    view: View,
    images: usize,
    first: usize,
}

impl Map {
    /// A map of this shape, `[N, C, H, W]`, whose values are not set.
    fn new(number: Number, [images, channels, height, width]: [usize; 4], spacing: Spacing) -> Self {
        let unit = if spacing.groups { 8 } else { 1 };
        let [before, after] = spacing.beside.map(|count| count * unit);
        let pitch = before + channels.next_multiple_of(unit) + after;
        let [columns, rows] = spacing.beyond;
        let (row, image) = (width + columns, (width + columns) * (height + rows));
        let mut memory = Memory::of_numbers(number, vec![UNTOUCHED; images * image * pitch]);
        let data = Address(memory.address().0 + (before * number.size()) as u64);
        let [pitch, row, image, channels, height, width] =
            [pitch, row, image, channels, height, width].map(|count| count as u32);
        let view = View { data, pitch, row, image, channels, height, width };
        Self { number, memory, view, images, first: before }
    }

    /// A map with the values of a tensor.
    fn of(number: Number, values: &Tensor, spacing: Spacing) -> Self {
        let (n, c, h, w) = values.dims4().unwrap();
        let mut map = Self::new(number, [n, c, h, w], spacing);
        let mut bytes = Vec::new();
        number.write(floats(values), &mut bytes);
        let places: Vec<usize> = map.places().collect();
        for (place, value) in places.into_iter().zip(bytes.chunks_exact(number.size())) {
            map.memory.bytes_mut()[place * number.size()..][..number.size()].copy_from_slice(value);
        }
        map
    }

    /// Where its values lie, in the order of a tensor.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let View { pitch, row, image, channels, height, width, .. } = self.view;
        let [pitch, row, image, c, h, w] = [pitch, row, image, channels, height, width].map(|count| count as usize);
        let first = self.first;
        (0..self.images * c * h * w).map(move |i| {
            let (n, channel, y, x) = (i / (c * h * w), i / (h * w) % c, i / w % h, i % w);
            (n * image + y * row + x) * pitch + first + channel
        })
    }

    /// Its values in double precision, `[N, C, H, W]`.
    fn tensor(&self) -> Tensor {
        let all = numbers(self.number, self.memory.bytes());
        let found: Vec<f64> = self.places().map(|place| f64::from(all[place])).collect();
        let View { channels, height, width, .. } = self.view;
        let shape = (self.images, channels as usize, height as usize, width as usize);
        Tensor::from_vec(found, shape, &Device::Cpu).unwrap()
    }

    /// Whether everything beside it is as it was.
    fn is_alone(&self) -> bool {
        let mut all = numbers(self.number, self.memory.bytes());
        self.places().for_each(|place| all[place] = UNTOUCHED);
        all.iter().all(|value| *value == UNTOUCHED)
    }
}

/// The name of a kernel for maps in groups or not.
fn kernel(name: &str, number: Number, grouped: bool) -> String {
    format!("{name}_{}{}", number.suffix(), if grouped { "_8" } else { "" })
}

/// Runs a kernel with few threads, or with more than there is work.
fn launch(host: &Host, kernel: String, threads: [u32; 4], args: impl Into<Args>) {
    let [x, y, z, threads] = threads;
    let launch = Launch { kernel, grid: Grid { blocks: [x, y, z], threads }, args: args.into() };
    // SAFETY: the tests' arguments are those of the kernels they name, and their memory is as large as the maps.
    unsafe { host.launch(&launch) }
}

fn values(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn floats(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The greatest difference of two tensors, relative to the greatest value of the second, or to 1.
fn difference(ours: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(ours.dims(), wanted.dims());
    let scale = values(wanted).iter().fold(1f64, |max, value| max.max(value.abs()));
    let off = |(a, b): (f64, f64)| if (a - b).is_nan() { f64::INFINITY } else { (a - b).abs() / scale };
    values(ours).into_iter().zip(values(wanted)).map(off).fold(0.0, f64::max)
}

/// What a tensor becomes in another kind of number.
fn rounded(number: Number, values: &Tensor) -> Tensor {
    let mut bytes = Vec::new();
    number.write(floats(values), &mut bytes);
    let found: Vec<f64> = numbers(number, &bytes).into_iter().map(f64::from).collect();
    Tensor::from_vec(found, values.dims(), &Device::Cpu).unwrap()
}

fn spacings() -> impl Strategy<Value = Spacing> {
    let of = |groups, beside, beyond| Spacing { groups, beside, beyond };
    (any::<bool>(), [0usize..3, 0usize..3], [0usize..2, 0usize..2]).prop_map(move |(g, a, b)| of(g, a, b))
}

fn grids() -> impl Strategy<Value = [u32; 4]> {
    [1u32..5, 1u32..4, 1u32..3, 1u32..40]
}

fn some_numbers() -> impl Strategy<Value = Number> {
    prop::sample::select(NUMBERS.to_vec())
}

/// Images, channels, rows and columns of a map. Channels are whole groups where groups are written.
fn shapes() -> impl Strategy<Value = [usize; 4]> {
    [1usize..3, 1usize..20, 1usize..12, 1usize..12]
}

fn whole_groups([n, c, h, w]: [usize; 4], spacing: Spacing) -> [usize; 4] {
    [n, if spacing.groups { c.next_multiple_of(8) } else { c }, h, w]
}

fn clamps() -> impl Strategy<Value = Clamp> {
    prop::sample::select(vec![Clamp::NONE, Clamp::RELU, Clamp { low: 0.0, high: 0.5 }])
}

/// The windows of a convolution or a pool over a map, if they fit.
fn windows(kind: [usize; 4], h: usize, w: usize) -> Option<(graph::Window, graph::Window)> {
    let [kernel, stride, dilation, padding] = kind;
    let window = |side| graph::Window::new(side, kernel, stride, dilation, Padding::Symmetric(padding));
    Some((window(h)?, window(w)?))
}

fn window_kinds() -> impl Strategy<Value = [usize; 4]> {
    [1usize..6, 1usize..4, 1usize..7, 0usize..7]
}

fn random(name: &str, shape: &[usize]) -> Tensor {
    hashed(name, shape)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn depthwise_convolutions(
        number in some_numbers(), spacing in spacings(), shape in shapes(), kind in window_kinds(), grid in grids(),
        relu: bool, clamp in clamps(), four: bool,
    ) {
        let Some(host) = host() else { return Ok(()) };
        let [n, c, h, w] = whole_groups(shape, spacing);
        let Some((v, across)) = windows(kind, h, w) else { return Ok(()) };
        let x = Map::of(number, &random("x", &[n, c, h, w]), spacing);
        let y = Map::new(number, [n, c, v.output, across.output], spacing);
        let (weights, bias) = (random("weights", &[c, 1, kind[0], kind[0]]), random("bias", &[1, c, 1, 1]));
        // [c, k, k] → [k, k, c], with zeros behind the channels.
        let area = kind[0] * kind[0];
        let by_pixel = weights.reshape((c, area)).unwrap().t().unwrap().to_dtype(DType::F32).unwrap();
        let by_pixel = by_pixel.to_vec2::<f32>().unwrap();
        let padded = |row: Vec<f32>| row.into_iter().chain([0.0; 8]).take(c.next_multiple_of(8));
        let mut packed = Memory::of_numbers(Number::F32, by_pixel.into_iter().flat_map(padded));
        let mut packed_bias = Memory::of_numbers(Number::F32, padded(floats(&bias)));
        let name = if four { "depthwise_4" } else { "depthwise_1" };
        launch(host, kernel(name, number, spacing.groups), grid, Depthwise {
            x: x.view, y: y.view, weights: packed.address(), bias: packed_bias.address(),
            v: v.into(), h: across.into(), images: n as u32, relu_input: u32::from(relu), low: clamp.low, high: clamp.high,
        });
        let input = if relu { x.tensor().relu().unwrap() } else { x.tensor() };
        let wanted = ops::conv2d(&input, &weights, c, (v, across)).unwrap().broadcast_add(&bias).unwrap();
        let wanted = wanted.clamp(f64::from(clamp.low).max(-1e9), f64::from(clamp.high).min(1e9)).unwrap();
        prop_assert!(difference(&y.tensor(), &wanted) < 4.0 * tolerance(number));
        prop_assert!(y.is_alone());
    }

    #[test]
    fn max_pools(
        number in some_numbers(), spacing in spacings(), shape in shapes(), kind in window_kinds(), grid in grids(),
    ) {
        let Some(host) = host() else { return Ok(()) };
        let [n, c, h, w] = whole_groups(shape, spacing);
        let Some((v, across)) = windows(kind, h, w) else { return Ok(()) };
        let x = Map::of(number, &random("x", &[n, c, h, w]), spacing);
        let y = Map::new(number, [n, c, v.output, across.output], spacing);
        let args = MaxPool { x: x.view, y: y.view, v: v.into(), h: across.into(), images: n as u32 };
        launch(host, kernel("max_pool", number, spacing.groups), grid, args);
        let wanted = ops::max_pool2d(&x.tensor(), (v, across)).unwrap();
        prop_assert_eq!(values(&y.tensor()), values(&wanted));
        prop_assert!(y.is_alone());
    }

    #[test]
    fn means(
        number in some_numbers(), spacing in spacings(), shape in shapes(), strips in 1usize..20, grid in grids(),
    ) {
        let Some(host) = host() else { return Ok(()) };
        let [n, c, h, w] = whole_groups(shape, spacing);
        let x = Map::of(number, &random("x", &[n, c, h, w]), spacing);
        let y = Map::new(number, [n, c, 1, 1], spacing);
        let mut sums = Memory::new(n * strips * c.next_multiple_of(8) * 4);
        let (sums, images, strips) = (sums.address(), n as u32, strips as u32);
        launch(host, kernel("sums", number, spacing.groups), grid, Sums { x: x.view, sums, images, strips });
        let args = Mean { sums, y: y.view, images, strips, pixels: (h * w) as u32 };
        launch(host, kernel("mean", number, false), grid, args);
        let wanted = x.tensor().mean_keepdim((2, 3)).unwrap();
        prop_assert!(difference(&y.tensor(), &wanted) < tolerance(number));
        prop_assert!(y.is_alone());
    }

    #[test]
    fn resizes(
        number in some_numbers(), spacing in spacings(), shape in shapes(), to in [1usize..20, 1usize..20], corners: bool,
        grid in grids(),
    ) {
        let Some(host) = host() else { return Ok(()) };
        let [n, c, h, w] = whole_groups(shape, spacing);
        let x = Map::of(number, &random("x", &[n, c, h, w]), spacing);
        let y = Map::new(number, [n, c, to[0], to[1]], spacing);
        let (v, across) = axes(Size::new(h, w), Size::new(to[0], to[1]), corners);
        let args = Resize { x: x.view, y: y.view, v, h: across, images: n as u32 };
        launch(host, kernel("resize", number, spacing.groups), grid, args);
        let wanted = ops::resize_bilinear(&x.tensor(), (to[0], to[1]), corners).unwrap();
        prop_assert!(difference(&y.tensor(), &wanted) < tolerance(number));
        prop_assert!(y.is_alone());
        // The same into a tensor of candle's.
        let mut planes = Memory::new(n * c * to[0] * to[1] * 4);
        let (height, width) = (to[0] as u32, to[1] as u32);
        let args = ToPlanes { map: x.view, planes: planes.address(), v, h: across, images: n as u32, height, width };
        launch(host, kernel("to_planes", number, false), grid, args);
        let planes: Vec<f64> = numbers(Number::F32, planes.bytes()).into_iter().map(f64::from).collect();
        let planes = Tensor::from_vec(planes, (n, c, to[0], to[1]), &Device::Cpu).unwrap();
        prop_assert!(difference(&planes, &wanted) < tolerance(Number::F32));
    }

    #[test]
    fn planes_become_maps(number in some_numbers(), spacing in spacings(), shape in shapes(), grid in grids()) {
        let Some(host) = host() else { return Ok(()) };
        let values = random("x", &shape);
        let y = Map::new(number, shape, Spacing { groups: false, ..spacing });
        let mut planes = Memory::of_numbers(Number::F32, floats(&values));
        let args = FromPlanes { planes: planes.address(), map: y.view, images: shape[0] as u32 };
        launch(host, kernel("from_planes", number, false), grid, args);
        prop_assert_eq!(difference(&y.tensor(), &rounded(number, &values)), 0.0);
        prop_assert!(y.is_alone());
    }

    /// By the same rule as on the CPU, to the last bit, and with equal logits; NaN and infinities are noticed.
    #[test]
    fn classes(
        number in some_numbers(), spacing in spacings(), shape in shapes(), to in [1usize..20, 1usize..20], corners: bool,
        grid in grids(), coarse: bool, bad in prop::option::of(prop::sample::select(vec![f64::NAN, f64::INFINITY])),
    ) {
        let Some(host) = host() else { return Ok(()) };
        let [n, c, h, w] = shape;
        let mut logits = values(&random("logits", &shape));
        if coarse {
            logits.iter_mut().for_each(|value| *value = (*value * 3.0).round());
        }
        if let Some(bad) = bad {
            logits[0] = bad;
        }
        let logits = Tensor::from_vec(logits, &shape, &Device::Cpu).unwrap();
        let x = Map::of(number, &logits, Spacing { groups: false, ..spacing });
        let (from, size) = (Size::new(h, w), Size::new(to[0], to[1]));
        let (v, across) = axes(from, size, corners);
        let mut ids = Memory::of(&vec![0; n * size.area() + 1]);
        let not_finite = Address(ids.address().0 + (n * size.area()) as u64);
        let (images, height, width) = (n as u32, to[0] as u32, to[1] as u32);
        let args = Labels { x: x.view, ids: ids.address(), not_finite, v, h: across, images, height, width };
        launch(host, kernel("labels", number, false), grid, args);
        let (found, flag) = ids.bytes().split_at(n * size.area());
        let axes = (graph::Axis::new(h, to[0], corners), graph::Axis::new(w, to[1], corners));
        // A class at the first pixel of a map, which no result may depend on if the map is made smaller.
        let sees_first = |axis: &graph::Axis| axis.0.iter().any(|lerp| lerp.near == 0);
        prop_assert_eq!(flag, [u8::from(bad.is_some() && sees_first(&axes.0) && sees_first(&axes.1))]);
        if bad.is_some() {
            return Ok(());
        }
        let logits = floats(&x.tensor());
        for (data, found) in logits.chunks(c * h * w).zip(found.chunks(size.area())) {
            let mut wanted = vec![0; size.area()];
            let logits = upsample::Logits { data, classes: c, size: from, class_stride: h * w, row_stride: w };
            winners(&logits, &axes, &mut wanted);
            prop_assert_eq!(found, wanted);
        }
    }

    /// As rows of a matmul with random weights, some pixels of the result.
    #[test]
    fn patches(
        number in some_numbers(), spacing in spacings(), shape in shapes(), kind in window_kinds(), grid in grids(),
        (first, count) in (0usize..1000, 1usize..1000),
    ) {
        let Some(host) = host() else { return Ok(()) };
        let [n, c, h, w] = whole_groups(shape, spacing);
        let Some((v, across)) = windows(kind, h, w) else { return Ok(()) };
        let (area, all) = (kind[0] * kind[0], n * v.output * across.output);
        let (first, inputs) = (first % all, area * c);
        let (pixels, pitch) = (count.min(all - first), inputs.next_multiple_of(8));
        let x = Map::of(number, &random("x", &[n, c, h, w]), spacing);
        let mut rows = Memory::new(pixels * pitch * number.size());
        launch(host, kernel("patches", number, spacing.groups), grid, Patches {
            x: x.view, rows: rows.address(), v: v.into(), h: across.into(),
            height: v.output as u32, width: across.output as u32,
            first: first as u32, pixels: pixels as u32, pitch: pitch as u32,
        });
        let rows: Vec<f64> = numbers(number, rows.bytes()).into_iter().map(f64::from).collect();
        prop_assert!(rows.chunks(pitch).all(|row| row[inputs..].iter().all(|value| *value == 0.0)));
        let rows = Tensor::from_vec(rows, (pixels, pitch), &Device::Cpu).unwrap().narrow(1, 0, inputs).unwrap();
        let weights = random("weights", &[3, c, kind[0], kind[0]]);
        // [3, c, k, k] → [k · k · c, 3]
        let columns = weights.permute((2, 3, 1, 0)).unwrap().reshape((inputs, 3)).unwrap();
        let ours = rows.contiguous().unwrap().matmul(&columns).unwrap();
        let wanted = ops::conv2d(&x.tensor(), &weights, 1, (v, across)).unwrap();
        let wanted = wanted.permute((0, 2, 3, 1)).unwrap().reshape((all, 3)).unwrap().narrow(0, first, pixels).unwrap();
        prop_assert!(difference(&ours, &wanted) < 1e-12);
    }

    #[test]
    fn pointwise_operations(
        number in some_numbers(), spacing in spacings(), shape in shapes(), grid in grids(), clamp in clamps(),
        combination in prop::sample::select(vec![
            Combination::Alone, Combination::Plus, Combination::Times, Combination::TimesChannel,
        ]),
        function in prop::sample::select(vec![Function::Clamp, Function::HardSwish, Function::HardSigmoid]),
        in_place: bool,
    ) {
        let Some(host) = host() else { return Ok(()) };
        let [n, c, h, w] = whole_groups(shape, spacing);
        let x = Map::of(number, &(random("x", &[n, c, h, w]) * 4.0).unwrap(), spacing);
        let single = if combination == Combination::TimesChannel { [n, c, 1, 1] } else { [n, c, h, w] };
        let other = Map::of(number, &random("other", &single), spacing);
        let y = Map::new(number, [n, c, h, w], spacing);
        let (a, b) = (x.tensor(), other.tensor());
        let y = if in_place { &x } else { &y };
        launch(host, kernel("pointwise", number, spacing.groups), grid, Pointwise {
            x: x.view, other: if combination == Combination::Alone { View::default() } else { other.view }, y: y.view,
            images: n as u32, combination: combination as u32, function: function as u32,
            low: clamp.low, high: clamp.high,
        });
        let combined = match combination {
            Combination::Alone => a,
            Combination::Plus => (a + b).unwrap(),
            Combination::Times | Combination::TimesChannel => a.broadcast_mul(&b).unwrap(),
        };
        let wanted = match function {
            Function::Clamp => combined.clamp(f64::from(clamp.low).max(-1e9), f64::from(clamp.high).min(1e9)),
            Function::HardSwish => ops::activation(&combined, Activation::HardSwish),
            Function::HardSigmoid => ops::activation(&combined, Activation::HardSigmoid),
        };
        prop_assert!(difference(&y.tensor(), &wanted.unwrap()) < tolerance(number));
        prop_assert!(y.is_alone());
    }

    /// What the CPU makes of an image, to the last bit: resampled or not, normalised and padded.
    #[test]
    fn pixels_become_the_networks_input(
        number in some_numbers(), spacing in spacings(), image in [1usize..24, 1usize..24], valid in [1usize..24, 1usize..24],
        padding in [0usize..3, 0usize..3], resized: bool, grid in grids(), n in 1usize..3,
        filter in prop::sample::select(vec![Filter::Bilinear, Filter::Lanczos]),
    ) {
        let Some(host) = host() else { return Ok(()) };
        let valid = if resized { valid } else { image };
        let input = [valid[0] + padding[0], valid[1] + padding[1]];
        let preprocessing = Preprocessing {
            mean: [100.5, 120.25, 127.5], std: [58.0, 61.5, 3.0], pad_value: [7.0, 127.5, 255.0],
            size: SizeRule::Native { height: input[0], width: input[1] }, filter,
        };
        let pictures: Vec<RgbImage> = (0..n).map(|index| picture(index, image)).collect();
        let mut bytes = Memory::of(&pictures.iter().flat_map(|picture| picture.as_raw().clone()).collect::<Vec<u8>>());
        let y = Map::new(number, [n, 3, input[0], input[1]], Spacing { groups: false, ..spacing });
        let [from, to] = [image, valid].map(|[height, width]| Size::new(height, width));
        let normalization = Images::new(&preprocessing, from, to).normalization;
        let images = n as u32;
        if image == valid {
            let (height, width) = (image[0] as u32, image[1] as u32);
            let args = Pixels { pixels: bytes.address(), y: y.view, normalization, images, height, width };
            launch(host, kernel("pixels", number, false), grid, args);
        } else {
            let (mut v, mut h) = (Packed::new(image[0], valid[0], filter), Packed::new(image[1], valid[1], filter));
            let mut between = Memory::new(n * valid[0] * image[1] * 3 * 4);
            let (height, line) = (image[0] as u32, 3 * image[1] as u32);
            let args = Columns { x: bytes.address(), y: between.address(), taps: v.taps(), images, height, line };
            launch(host, "resample_columns".into(), grid, args);
            let (height, width) = (valid[0] as u32, image[1] as u32);
            let args = Rows { x: between.address(), y: y.view, taps: h.taps(), normalization, images, height, width };
            launch(host, kernel("resample_rows", number, false), grid, args);
        }
        let prepared = pictures.iter().map(|picture| {
            let picture = preprocessing.resize(picture, to).into_owned();
            preprocessing.prepare(&picture, &Device::Cpu).unwrap().pixels
        });
        let prepared = Tensor::cat(&prepared.collect::<Vec<_>>(), 0).unwrap();
        prop_assert_eq!(difference(&y.tensor(), &rounded(number, &prepared)), 0.0);
        prop_assert!(y.is_alone());
    }

    /// Candle's tensors: the result, and the gradients of both inputs.
    #[test]
    fn depthwise_convolutions_of_planes(
        number in some_numbers(), shape in shapes(), kind in window_kinds(), grid in grids(), part_count in 1usize..40,
    ) {
        let Some(host) = host() else { return Ok(()) };
        let [n, c, h, w] = shape;
        let Some((v, across)) = windows(kind, h, w) else { return Ok(()) };
        let x = rounded(number, &random("x", &shape));
        let weights = rounded(number, &random("weights", &[c, 1, kind[0], kind[0]]));
        let dy = rounded(number, &random("dy", &[n, c, v.output, across.output]));
        let memory = |t: &Tensor| Memory::of_numbers(number, floats(t));
        let (mut x_memory, mut weights_memory, mut dy_memory) = (memory(&x), memory(&weights), memory(&dy));
        let mut parts = Memory::new(weights.elem_count() * part_count * 4);
        let mut run = |kernels: &[&str], like: &Tensor| {
            let mut result = Memory::new(like.elem_count() * number.size());
            for name in kernels {
                launch(host, kernel(name, number, false), grid, DepthwisePlanes {
                    x: x_memory.address(), weights: weights_memory.address(), dy: dy_memory.address(),
                    result: result.address(), parts: parts.address(), v: v.into(), h: across.into(),
                    images: n as u32, channels: c as u32, height: h as u32, width: w as u32,
                    out_height: v.output as u32, out_width: across.output as u32, part_count: part_count as u32,
                });
            }
            let found: Vec<f64> = numbers(number, result.bytes()).into_iter().map(f64::from).collect();
            Tensor::from_vec(found, like.dims(), &Device::Cpu).unwrap()
        };
        let y = run(&["planes_forward"], &dy);
        let dx = run(&["planes_input"], &x);
        let dweights = run(&["planes_parts", "planes_weights"], &weights);
        let wanted = ops::conv2d(&x, &weights, c, (v, across)).unwrap();
        let (wanted_dx, wanted_dweights) = ops::conv2d_backward(&x, &weights, c, (v, across), &dy, true).unwrap();
        prop_assert!(difference(&y, &wanted) < 4.0 * tolerance(number));
        prop_assert!(difference(&dx, &wanted_dx.unwrap()) < 4.0 * tolerance(number));
        prop_assert!(difference(&dweights, &wanted_dweights) < 8.0 * tolerance(number));
    }
}

fn picture(index: usize, [height, width]: [usize; 2]) -> RgbImage {
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let noise = (x * 7 + y * 13 + index as u32 * 31).wrapping_mul(2_654_435_761) >> 8;
        Rgb([noise as u8, (noise >> 8) as u8, (noise >> 16) as u8])
    })
}

/// The tables of an axis in memory.
struct Packed {
    starts: Memory,
    counts: Memory,
    weights: Memory,
    most: usize,
    outputs: usize,
}

impl Packed {
    fn new(from: usize, to: usize, filter: Filter) -> Self {
        let Table { starts, counts, weights, most } = Table::new(from, to, filter);
        let words = |words: Vec<u32>| Memory::of(&words.into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<u8>>());
        let weights = Memory::of_numbers(Number::F32, weights);
        Self { starts: words(starts), counts: words(counts), weights, most, outputs: to }
    }

    fn taps(&mut self) -> Taps {
        Taps {
            starts: self.starts.address(),
            counts: self.counts.address(),
            weights: self.weights.address(),
            most: self.most as u32,
            outputs: self.outputs as u32,
        }
    }
}

/// A run that has gone wrong must not look healthy.
#[test]
fn nan_stays_nan() {
    let Some(host) = host() else { return };
    let spacing = Spacing { groups: false, beside: [0; 2], beyond: [0; 2] };
    for number in NUMBERS {
        let nan = Tensor::full(f32::NAN, (1, 3, 2, 2), &Device::Cpu).unwrap();
        let (x, y) = (Map::of(number, &nan, spacing), Map::new(number, [1, 3, 2, 2], spacing));
        for function in [Function::Clamp, Function::HardSwish, Function::HardSigmoid] {
            let (combination, function) = (Combination::Alone as u32, function as u32);
            let args = Pointwise {
                x: x.view,
                other: View::default(),
                y: y.view,
                images: 1,
                combination,
                function,
                low: 0.0,
                high: 6.0,
            };
            launch(host, kernel("pointwise", number, false), [1, 1, 1, 7], args);
            assert!(values(&y.tensor()).iter().all(|value| value.is_nan()));
        }
    }
}
