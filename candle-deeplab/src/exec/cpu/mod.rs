//! Runs a network on the CPU with fused kernels, for inference at any batch and input size.
//!
//! `exec::fuse` turns the graph into steps; `pack` folds and packs their weights; `plan` fits them to an input size,
//! decides which of them run band by band, and which maps share memory; `isa` has the kernels. Feature maps are stored
//! channels last: a pixel's channels are a row of a matmul, a vector of channels never crosses the edge of a map, and
//! threads that compute different pixels write to separate slices.

mod aligned;
mod arena;
mod bands;
mod blocks;
mod conv;
mod denormals;
mod depthwise;
mod geometry;
mod isa;
mod pack;
mod plan;
mod resize;
mod simple;
mod strassen;
#[cfg(test)]
mod tests;
mod view;
mod windows;
mod winograd;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, DeviceLocation, Storage, Tensor};

pub use isa::peak_flops;
use rayon::prelude::*;

use super::choice::{Isa, Precision};
use super::fold;
use super::fuse::{Operand, Operation};
use crate::error::{Error, Result};
use crate::graph::{Graph, Param, Size, Value};
use crate::weights::Values;
use arena::{Arena, Arenas};
use bands::{Band, Limits, Stretch};
use geometry::Geometry;
use isa::Kernels;
use pack::{Program, StepWeights};
use plan::Plan;

/// How many plans are kept.
const MAX_PLANS: usize = 8;

/// What a plan is made for: batch, height and width, and the wanted maps.
type PlanOf = ([usize; 3], Vec<usize>);

/// A network with its weights packed for the CPU's vector instructions.
///
/// It runs in the current rayon pool. Memory is kept for the next calls: of as many calls as ran at once, but of no
/// more than the pool has threads. Memory that was more than twice as large as needed for 32 calls in a row is freed.
#[derive(Debug)]
pub struct Cpu {
    graph: Arc<Graph>,
    kernels: Kernels,
    precision: Precision,
    program: Program,
    limits: fn() -> Limits,
    /// The least recently used comes first.
    plans: Mutex<Vec<(PlanOf, Arc<Plan>)>>,
    arenas: Arenas,
}

/// How long one step of a call took.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StepTime {
    /// The path of the node that does most of the step's work.
    pub path: String,
    /// The kernel, e.g. `depthwise 3×3 + 1×1`.
    pub kernel: String,
    /// Multiply-adds.
    pub macs: u64,
    /// Wall-clock time.
    pub time: Duration,
}

impl Cpu {
    /// Folds, fuses and packs a network. Each parameter comes from `get`, which is called by several threads at once.
    ///
    /// At [`Precision::Bf16`], the inputs and weights of matmuls are rounded; their sums, the maps between layers,
    /// depthwise convolutions and dense ones that suit Winograd's algorithm stay f32.
    ///
    /// # Errors
    /// Those of `get`; [`Error::Executor`] where this machine [lacks](Isa::supports) the instructions; [`Error::Graph`] where the
    /// network does not end in the resize of its [logits](Graph::logits), or a parameter has another number of values.
    pub fn new(
        graph: Arc<Graph>,
        isa: Isa,
        precision: Precision,
        get: impl Fn(&Param) -> Result<Tensor> + Sync,
    ) -> Result<Self> {
        Self::from_values(graph, isa, precision, |param| Values::of(&get(param)?))
    }

    /// As [`new`](Self::new), but takes the values of each parameter instead of a tensor.
    pub(crate) fn from_values<'a>(
        graph: Arc<Graph>,
        isa: Isa,
        precision: Precision,
        get: impl Fn(&Param) -> Result<Values<'a>> + Sync,
    ) -> Result<Self> {
        let kernels = Kernels::new(isa, precision)?;
        let program = Program::new(&graph, kernels, precision, &fold::reader(&graph, get))?;
        let (plans, arenas) = Default::default();
        Ok(Self { graph, kernels, precision, program, limits: Limits::usual, plans, arenas })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.kernels.isa()
    }

    /// The precision of the numbers that matmuls multiply.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Logits `[N, classes, h, w]` at the head's resolution, for pixels `[N, 3, H, W]`.
    ///
    /// # Errors
    /// [`Error::Input`] and [`Error::Graph`] where the pixels do not fit the network, [`Error::Device`] and [`Error::Dtype`] where
    /// they are not f32 on the CPU.
    pub fn logits(&self, pixels: &Tensor) -> Result<Tensor> {
        let logits = self.program.fused.logits;
        self.call(pixels, &[logits.map], None, |plan, arena| tensor(plan, arena, logits))
    }

    /// The values of nodes, each `[N, C, h, w]`, for pixels `[N, 3, H, W]`; nothing after the last of these nodes is
    /// computed. `None` where a node is only a part of a step, such as a convolution before its norm.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn values(&self, pixels: &Tensor, nodes: &[Value]) -> Result<Option<Vec<Tensor>>> {
        let places: Option<Vec<Operand>> = nodes.iter().map(|node| self.program.fused.places[node.index()]).collect();
        let Some(places) = places else { return Ok(None) };
        let maps: Vec<usize> = places.iter().map(|place| place.map).collect();
        let values = |plan: &Plan, arena: &mut Arena| {
            places.iter().map(|place| tensor(plan, arena, *place)).collect::<Result<Vec<_>>>()
        };
        self.call(pixels, &maps, None, values).map(Some)
    }

    /// Logits `[N, classes, H, W]` at the input's size, for pixels `[N, 3, H, W]`.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn output(&self, pixels: &Tensor) -> Result<Tensor> {
        self.call(pixels, &[self.program.fused.logits.map], None, |plan, arena| {
            let (planes, classes, size) = self.planes(plan, arena);
            let Size { height, width } = plan.output;
            let mut out = vec![0.0; plan.batch * classes * plan.output.area()];
            resize::resize_planes(planes, size, &plan.output_axes, &mut out);
            Ok(Tensor::from_vec(out, (plan.batch, classes, height, width), &Device::Cpu)?)
        })
    }

    /// The class of each pixel, u8 `[N, H, W]`: the one with the greatest [`output`](Self::output), to rounding. The
    /// output is never computed as a whole. The first of equals wins.
    ///
    /// # Errors
    /// As [`logits`](Self::logits); [`Error::Graph`] for more than 256 classes; [`Error::NotFinite`] where a logit is
    /// NaN.
    pub fn label_map(&self, pixels: &Tensor) -> Result<Tensor> {
        self.labels(pixels, None)
    }

    /// A [`label_map`](Self::label_map) and how long each of its steps took.
    ///
    /// # Errors
    /// As [`label_map`](Self::label_map).
    pub fn profile(&self, pixels: &Tensor) -> Result<(Tensor, Vec<StepTime>)> {
        let mut times = Vec::new();
        let labels = self.labels(pixels, Some(&mut times))?;
        Ok((labels, times))
    }

    fn labels(&self, pixels: &Tensor, times: Option<&mut Vec<StepTime>>) -> Result<Tensor> {
        self.graph.check_label_map("take the logits")?;
        self.call(pixels, &[self.program.fused.logits.map], times, |plan, arena| {
            let (planes, classes, size) = self.planes(plan, arena);
            if planes.par_chunks(1 << 14).any(|values| values.iter().any(|value| !value.is_finite())) {
                return Err(Error::NotFinite);
            }
            let Size { height, width } = plan.output;
            let mut out = vec![0u8; plan.batch * plan.output.area()];
            resize::argmax_planes(planes, classes, size, &plan.output_axes, &mut out);
            Ok(Tensor::from_vec(out, (plan.batch, height, width), &Device::Cpu)?)
        })
    }

    /// The logits as planes `[N, classes, h, w]` in the arena, their number of classes, and their size.
    fn planes<'a>(&self, plan: &Plan, arena: &'a mut Arena) -> (&'a [f32], usize, Size) {
        let mut planes = std::mem::take(&mut arena.planes);
        let view = arena.view(plan, self.program.fused.logits);
        let (classes, size) = (view.channels, Size::new(view.height, view.width));
        let len = plan.batch * classes * size.area();
        planes.grow(len);
        simple::to_planes(view, &mut planes[..len]);
        arena.planes = planes;
        (&arena.planes[..len], classes, size)
    }

    /// Runs the steps up to the wanted maps, and then `finish` on their results, inside the rayon pool.
    fn call<R: Send>(
        &self,
        pixels: &Tensor,
        wanted: &[usize],
        times: Option<&mut Vec<StepTime>>,
        finish: impl FnOnce(&Plan, &mut Arena) -> Result<R> + Send,
    ) -> Result<R> {
        let &[batch, channels, height, width] = pixels.dims() else {
            return Err(Error::Input { shape: pixels.dims().to_vec() });
        };
        if batch == 0 || channels != self.program.fused.maps[0].channels {
            return Err(Error::Input { shape: pixels.dims().to_vec() });
        }
        if pixels.dtype() != DType::F32 {
            return Err(Error::Dtype { expected: DType::F32, actual: pixels.dtype() });
        }
        let plan = self.plan(([batch, height, width], wanted.to_vec()))?;
        let pixels = pixels.contiguous()?;
        let (storage, layout) = pixels.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            return Err(Error::Device { expected: DeviceLocation::Cpu, actual: pixels.device().location() });
        };
        let pixels = &storage.as_slice::<f32>()?[layout.start_offset()..][..batch * channels * height * width];
        // Inside the pool, a parallel loop costs one wake-up less.
        rayon::scope(|_| {
            self.arenas.with(&plan, |arena| {
                self.steps(&plan, pixels, arena, times);
                finish(&plan, arena)
            })
        })
    }

    fn steps(&self, plan: &Plan, pixels: &[f32], arena: &mut Arena, mut times: Option<&mut Vec<StepTime>>) {
        let fused = &self.program.fused;
        let input = Operand { map: 0, offset: 0, channels: fused.maps[0].channels };
        let height_of = |map: usize| plan.maps[map].size.height;
        arena.write(plan, input, 0..plan.batch * height_of(0), |_, out| simple::from_planes(pixels, out));
        if let Some(times) = &mut times {
            times.extend(fused.steps.iter().zip(&plan.steps).map(|(step, geometry)| StepTime {
                path: self.graph.node(step.node).path.clone(),
                kernel: format!("{}{geometry}", step.operation),
                macs: (step.operation.macs_per_pixel() * plan.batch * plan.maps[step.output.map].size.area()) as u64,
                time: Duration::ZERO,
            }));
        }
        let mut timed = |index: usize, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            if let Some(times) = &mut times {
                times[index].time += start.elapsed();
            }
        };
        let of_image = |image: usize, map: usize, rows: &Range<usize>| {
            let top = image * height_of(map);
            top + rows.start..top + rows.end
        };
        for Stretch { steps, bands } in &plan.stretches {
            if bands.is_empty() {
                for index in steps.clone() {
                    let rows = plan.batch * height_of(fused.steps[index].output.map);
                    timed(index, &mut || self.step(index, 0..rows, plan, arena));
                }
            }
            for (image, Band { kept, rows }) in
                (0..plan.batch).flat_map(|image| bands.iter().map(move |band| (image, band)))
            {
                timed(steps.start, &mut || {
                    for (map, rows) in kept {
                        arena.keep(plan, *map, of_image(image, *map, rows));
                    }
                });
                for (index, rows) in steps.clone().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
                    let rows = of_image(image, fused.steps[index].output.map, rows);
                    timed(index, &mut || self.step(index, rows.clone(), plan, arena));
                }
            }
        }
    }

    /// Computes rows of a step's result. Rows are numbered through all images.
    fn step(&self, index: usize, rows: Range<usize>, plan: &Plan, arena: &mut Arena) {
        let (step, geometry) = (&self.program.fused.steps[index], &plan.steps[index]);
        let mut scratch = std::mem::take(&mut arena.scratch);
        arena.write(plan, step.output, rows, |arena, mut out| {
            let x = arena.view(plan, step.input);
            let other = step.other.map(|operand| arena.view(plan, operand));
            match (&step.operation, &self.program.weights[index], geometry, other) {
                (_, StepWeights::Dense(groups), geometry, residual) => {
                    let all = groups.len();
                    for (group, conv) in groups.iter().enumerate() {
                        let residual = residual.map(|residual| residual.part(group, all));
                        let (x, out) = (x.part(group, all), out.part(group, all));
                        conv.run(self.kernels, x, geometry, residual, out, &mut scratch);
                    }
                }
                (_, StepWeights::Depthwise(conv), Geometry::Windows(windows), _) => {
                    conv.run(self.kernels, x, *windows, out);
                }
                (Operation::MaxPool(_), _, Geometry::Windows(windows), _) => simple::max_pool(x, *windows, out),
                (Operation::Resize { .. }, _, Geometry::Resize((v, h)), _) => resize::resize(x, (v, h), out),
                (Operation::Add, _, _, Some(other)) => simple::add(x, other, out),
                (Operation::Multiply, _, _, Some(other)) => simple::multiply(x, other, out),
                (Operation::Activation(activation), ..) => simple::activate(x, *activation, out),
                (Operation::Copy, ..) => simple::copy(x, out),
                (Operation::GlobalPool, ..) => simple::global_pool(x, out),
                (operation, _, geometry, _) => unreachable!("{operation} planned with {geometry:?}"),
            }
        });
        arena.scratch = scratch;
    }

    fn plan(&self, of: PlanOf) -> Result<Arc<Plan>> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.iter().position(|(known, _)| *known == of) {
            Some(found) => plans.remove(found).1,
            None => Arc::new(Plan::new(&self.program, &self.graph, of.0, (self.limits)(), &of.1)?),
        };
        if plans.len() == MAX_PLANS {
            plans.remove(0);
        }
        plans.push((of, plan.clone()));
        Ok(plan)
    }
}

/// A map, or some of its channels, as a tensor `[N, C, h, w]`.
fn tensor(plan: &Plan, arena: &Arena, place: Operand) -> Result<Tensor> {
    let view = arena.view(plan, place);
    let mut planes = vec![0.0; plan.batch * view.channels * view.height * view.width];
    simple::to_planes(view, &mut planes);
    let shape = (plan.batch, view.channels, view.height, view.width);
    Ok(Tensor::from_vec(planes, shape, &Device::Cpu)?)
}
