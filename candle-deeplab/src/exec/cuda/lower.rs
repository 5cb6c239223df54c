//! Turns the steps of a fused network into work for the GPU, on buffers that have no place yet.
//!
//! A 1×1 convolution is a matmul, whose epilogue has bias, residual and ReLU. Other dense convolutions are copied into
//! rows first, in stretches that bound the memory for it. A depthwise convolution before a 1×1 is a launch of its own:
//! its result is written once and read once, mostly from the second-level cache.

use std::ops::Range;

use super::kernels::{
    Address, Args, Axis, Combination, Depthwise, Function, Launch, MaxPool, Mean, Number, Patches, Pointwise, Resize,
    Sums, View, Window,
};
use super::pack::{DepthwiseWeights, Matrix, Program, StepWeights};
use super::part::{GROUP, Part};
use super::work::{FIRST, Gemm, Pitches, WEIGHTS, Work, at};
use crate::error::{Error, Result};
use crate::exec::fuse::{Clamp, FusedConv, FusedDepthwise, Operand, Operation, Step};
use crate::graph::{Activation, Size, Windows};

/// The most bytes that rows of a convolution take at once. They are read soon after they are written, so fewer are more
/// often in the cache, and more are fewer launches.
const MAX_ROWS: usize = 64 << 20;

/// Depthwise convolutions compute four columns in a thread only if as many threads as these are left: half of what the
/// largest GPUs run at once.
const ENOUGH_THREADS: usize = 1 << 17;

/// The work of one call, as far as it has been lowered.
pub(super) struct Lowering {
    pub(super) batch: usize,
    /// The maps of the fused network.
    pub(super) maps: Vec<Part>,
    /// Bytes of each buffer of the arena.
    pub(super) buffers: Vec<usize>,
    pub(super) works: Vec<Work>,
}

impl Lowering {
    /// Makes maps for all those of the network, whose sizes are given in the order of the graph's nodes.
    ///
    /// # Errors
    /// [`Error::Executor`] where a map is too large for the kernels.
    pub(super) fn new(program: &Program, batch: usize, sizes: &[Size]) -> Result<Self> {
        let mut lowering = Self { batch, maps: Vec::new(), buffers: Vec::new(), works: Vec::new() };
        for (index, map) in program.fused.maps.iter().enumerate() {
            let map = lowering.new_map(program.number_of(index), map.channels, sizes[map.size_of.index()])?;
            lowering.maps.push(map);
        }
        Ok(lowering)
    }

    /// A new buffer.
    pub(super) fn new_buffer(&mut self, bytes: usize) -> usize {
        self.buffers.push(bytes);
        FIRST + self.buffers.len() - 1
    }

    /// A new map, in a buffer of its own.
    pub(super) fn new_map(&mut self, number: Number, channels: usize, size: Size) -> Result<Part> {
        let map = Part::whole(FIRST + self.buffers.len(), number, self.batch, channels, size);
        // Kernels count pixels, and what lies in a row or a column, in 32 bits.
        let counts = [
            [self.batch, size.height, size.width, 1],
            [map.pitch(), size.height.max(size.width), 1, 1],
            [map.pitch(), self.batch, 1, 1],
        ];
        let fits = |factors: &[usize; 4]| {
            let product = factors.iter().try_fold(1usize, |product, factor| product.checked_mul(*factor));
            product.is_some_and(|product| product <= i32::MAX as usize)
        };
        if !counts.iter().all(fits) {
            let reason = format!(
                "{} maps of {channels} channels and {size} pixels are too large for the kernels: give smaller images, tiles, \
                 or fewer at a time",
                self.batch
            );
            return Err(Error::Executor(reason));
        }
        self.new_buffer(map.bytes());
        Ok(map)
    }

    /// Some channels of a map of the network.
    pub(super) fn part(&self, operand: Operand) -> Part {
        self.maps[operand.map].narrow(operand.offset, operand.channels)
    }

    /// Adds a launch of a kernel for a kind of number, with one channel in a thread.
    pub(super) fn kernel(&mut self, name: &str, number: Number, work: [usize; 3], args: impl Into<Args>) {
        self.works.push(Work::Kernel(Launch::new(format!("{name}_{}", number.suffix()), work, args)));
    }

    /// Adds a launch of a kernel that there is only one form of.
    pub(super) fn kernel_of_one(&mut self, name: &str, work: [usize; 3], args: impl Into<Args>) {
        self.works.push(Work::Kernel(Launch::new(name.into(), work, args)));
    }

    /// Adds a launch of a kernel that works on groups of channels where it can. `columns` is the number of columns of
    /// its work, and `rows` of its rows.
    fn grouped(&mut self, name: &str, by: By, [columns, rows]: [usize; 2], args: impl Into<Args>) {
        let By { number, channels, group } = by;
        let kernel = format!("{name}_{}{}", number.suffix(), if group == GROUP { "_8" } else { "" });
        let work = [channels.div_ceil(group) * columns, rows, self.batch];
        self.works.push(Work::Kernel(Launch::new(kernel, work, args)));
    }

    /// Adds a step of the network. [`Graph::sizes`](crate::graph::Graph::sizes) has made sure that its windows fit.
    pub(super) fn step(&mut self, step: &Step, weights: &StepWeights) -> Result<()> {
        let (x, y) = (self.part(step.input), self.part(step.output));
        let other = step.other.map(|other| self.part(other));
        match (&step.operation, weights, other) {
            (Operation::Conv { depthwise, conv }, StepWeights::Conv { depthwise: packed, groups }, residual) => {
                let x = match (depthwise, packed) {
                    (Some(depthwise), Some(packed)) => {
                        let between = self.new_map(x.number, x.channels, y.size)?;
                        self.depthwise(depthwise, packed, x, between);
                        between
                    }
                    _ => x,
                };
                self.convolution(conv, groups, x, residual, y);
            }
            (Operation::Depthwise(depthwise), StepWeights::Depthwise(packed), _) => {
                self.depthwise(depthwise, packed, x, y);
            }
            (Operation::Activation(activation), ..) => self.pointwise(x, None, y, function(*activation)),
            (Operation::Copy, ..) => self.pointwise(x, None, y, clamped(Clamp::NONE)),
            (Operation::Add, _, Some(other)) => {
                self.pointwise(x, Some((Combination::Plus, other)), y, clamped(Clamp::NONE));
            }
            (Operation::Multiply, _, Some(other)) => {
                let times = if other.size == x.size { Combination::Times } else { Combination::TimesChannel };
                self.pointwise(x, Some((times, other)), y, clamped(Clamp::NONE));
            }
            (Operation::Resize { align_corners }, ..) => self.resize(x, y, y.size, *align_corners),
            (Operation::MaxPool(windows), ..) => {
                let (v, h) = fitted(*windows, x.size);
                let args = MaxPool { x: x.view(), y: y.view(), v, h, images: self.batch as u32 };
                self.grouped("max_pool", By::of(&[x], y), [y.size.width, y.size.height], args);
            }
            (Operation::GlobalPool, ..) => self.global_pool(x, y),
            (operation, ..) => {
                return Err(Error::Executor(format!("there are no weights or no operands for a step, {operation}")));
            }
        }
        Ok(())
    }

    fn depthwise(&mut self, depthwise: &FusedDepthwise, weights: &DepthwiseWeights, x: Part, y: Part) {
        let FusedDepthwise { conv, relu_input } = depthwise;
        let (v, h) = fitted(conv.conv.windows(), x.size);
        let by = By::of(&[x], y);
        let args = Depthwise {
            x: x.view(),
            y: y.view(),
            weights: at(WEIGHTS, weights.weights),
            bias: at(WEIGHTS, weights.bias),
            v,
            h,
            images: self.batch as u32,
            relu_input: u32::from(*relu_input),
            low: conv.clamp.low,
            high: conv.clamp.high,
        };
        let columns = |at_once: usize| y.size.width.div_ceil(at_once);
        let threads = y.channels.div_ceil(by.group) * columns(4) * y.size.height * self.batch;
        let (name, at_once) = if threads >= ENOUGH_THREADS { ("depthwise_4", 4) } else { ("depthwise_1", 1) };
        self.grouped(name, by, [columns(at_once), y.size.height], args);
    }

    fn convolution(&mut self, conv: &FusedConv, matrices: &[Matrix], x: Part, residual: Option<Part>, y: Part) {
        let (groups, windows) = (matrices.len(), conv.conv.windows());
        // The epilogue of a matmul knows no other clamp than a ReLU.
        let relu = conv.clamp == Clamp::RELU;
        for (group, matrix) in matrices.iter().enumerate() {
            let (x, y) = (x.part(group, groups), y.part(group, groups));
            let residual = residual.map(|residual| residual.part(group, groups));
            if windows.is_pointwise() {
                let rows = Rows { address: x.address(0), pitch: x.pitch(), inputs: matrix.inputs, number: x.number };
                self.gemm(matrix, rows, 0..y.pixels(), residual, y, relu);
            } else {
                self.windowed(windows, matrix, x, residual, y, relu);
            }
        }
        if !relu && conv.clamp != Clamp::NONE {
            self.pointwise(y, None, y, clamped(conv.clamp));
        }
    }

    /// A convolution whose windows are copied into rows.
    fn windowed(&mut self, windows: Windows, matrix: &Matrix, x: Part, residual: Option<Part>, y: Part, relu: bool) {
        let (v, h) = fitted(windows, x.size);
        let row_bytes = matrix.pitch * x.number.size();
        let at_once = (MAX_ROWS / row_bytes).clamp(1, y.pixels());
        let buffer = self.new_buffer(at_once * row_bytes);
        // A group of a row must not be that of two pixels.
        let group = if x.reads_groups() && x.channels.is_multiple_of(GROUP) { GROUP } else { 1 };
        let suffix = if group == GROUP { "_8" } else { "" };
        for first in (0..y.pixels()).step_by(at_once) {
            let range = first..(first + at_once).min(y.pixels());
            let args = Patches {
                x: x.view(),
                rows: at(buffer, 0),
                v,
                h,
                height: y.size.height as u32,
                width: y.size.width as u32,
                first: first as u32,
                pixels: range.len() as u32,
                pitch: matrix.pitch as u32,
            };
            let kernel = format!("patches_{}{suffix}", x.number.suffix());
            let work = [matrix.pitch / group * range.len(), 1, 1];
            self.works.push(Work::Kernel(Launch::new(kernel, work, args)));
            // The zeros behind a row meet those behind the weights, so that the matmul has whole groups of inputs.
            let rows = Rows { address: at(buffer, 0), pitch: matrix.pitch, inputs: matrix.pitch, number: x.number };
            self.gemm(matrix, rows, range, residual, y, relu);
        }
    }

    /// A matmul that computes some pixels of `y`.
    fn gemm(&mut self, matrix: &Matrix, rows: Rows, pixels: Range<usize>, residual: Option<Part>, y: Part, relu: bool) {
        self.works.push(Work::Gemm(Gemm {
            weights: at(WEIGHTS, matrix.weights),
            bias: at(WEIGHTS, matrix.bias),
            x: rows.address,
            residual: residual.map(|residual| residual.address(pixels.start)),
            y: y.address(pixels.start),
            outputs: matrix.outputs,
            inputs: rows.inputs,
            pixels: pixels.len(),
            pitches: Pitches {
                weights: matrix.pitch,
                x: rows.pitch,
                residual: residual.map_or(0, |residual| residual.pitch()),
                y: y.pitch(),
            },
            relu,
            number: rows.number,
            result: y.number,
        }));
    }

    fn pointwise(
        &mut self,
        x: Part,
        other: Option<(Combination, Part)>,
        y: Part,
        (function, clamp): (Function, Clamp),
    ) {
        let (combination, other) = other.map_or((Combination::Alone, None), |(how, other)| (how, Some(other)));
        let args = Pointwise {
            x: x.view(),
            other: other.map_or_else(View::default, |other| other.view()),
            y: y.view(),
            images: self.batch as u32,
            combination: combination as u32,
            function: function as u32,
            low: clamp.low,
            high: clamp.high,
        };
        let by = By::of(&[x, other.unwrap_or(x)], y);
        self.grouped("pointwise", by, [y.size.width, y.size.height], args);
    }

    /// Resizes a map to the size `to`, of which `y` has the upper left.
    pub(super) fn resize(&mut self, x: Part, y: Part, to: Size, align_corners: bool) {
        let (v, h) = axes(x.size, to, align_corners);
        let args = Resize { x: x.view(), y: y.view(), v, h, images: self.batch as u32 };
        self.grouped("resize", By::of(&[x], y), [y.size.width, y.size.height], args);
    }

    fn global_pool(&mut self, x: Part, y: Part) {
        // Few enough for one thread to add up their sums, many enough for threads of their own.
        let strips = x.size.area().isqrt().max(1);
        let padded = x.channels.next_multiple_of(GROUP);
        let sums = at(self.new_buffer(self.batch * strips * padded * size_of::<f32>()), 0);
        let (images, pixels) = (self.batch as u32, x.size.area() as u32);
        let args = Sums { x: x.view(), sums, images, strips: strips as u32 };
        let group = if x.reads_groups() { GROUP } else { 1 };
        self.grouped("sums", By { number: x.number, channels: x.channels, group }, [1, strips], args);
        let args = Mean { sums, y: y.view(), images, strips: strips as u32, pixels };
        self.kernel("mean", y.number, [y.channels, 1, self.batch], args);
    }
}

/// The rows of a matmul.
struct Rows {
    address: Address,
    pitch: usize,
    inputs: usize,
    number: Number,
}

/// How a kernel divides the channels of its result.
#[derive(Clone, Copy)]
struct By {
    number: Number,
    channels: usize,
    /// Channels that a thread handles at once: a whole [`GROUP`] or one.
    group: usize,
}

impl By {
    /// Groups, if what is read and what is written can be.
    fn of(read: &[Part], written: Part) -> Self {
        let groups = written.writes_groups() && read.iter().all(Part::reads_groups);
        Self { number: written.number, channels: written.channels, group: if groups { GROUP } else { 1 } }
    }
}

/// The windows over a map, which they fit.
fn fitted(windows: Windows, size: Size) -> (Window, Window) {
    let none = Window { kernel: 0, stride: 1, dilation: 1, before: 0 };
    windows.over(size).map_or((none, none), |(v, h)| (v.into(), h.into()))
}

/// The vertical and the horizontal axis of a resize.
pub(super) fn axes(from: Size, to: Size, align_corners: bool) -> (Axis, Axis) {
    let axis = |from, to| Axis::new(from, to, align_corners);
    (axis(from.height, to.height), axis(from.width, to.width))
}

fn clamped(clamp: Clamp) -> (Function, Clamp) {
    (Function::Clamp, clamp)
}

fn function(activation: Activation) -> (Function, Clamp) {
    match activation {
        Activation::Relu => clamped(Clamp::RELU),
        Activation::Relu6 => clamped(Clamp::RELU6),
        Activation::HardSwish => (Function::HardSwish, Clamp::NONE),
        Activation::HardSigmoid => (Function::HardSigmoid, Clamp::NONE),
    }
}
