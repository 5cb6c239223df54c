//! A plan: all work of a call for inputs of one size, and where its buffers lie. Making one needs no GPU.

use std::ops::{Range, RangeInclusive};

use super::arena::place;
use super::ends::{self, Logits, Source, Tables};
use super::kernels::{Address, Launch, ToPlanes};
use super::lower::{Lowering, axes};
use super::pack::Program;
use super::part::Part;
use super::work::{FIRST, TABLES, WEIGHTS, Work, buffer_and_offset};
use crate::error::Result;
use crate::exec::fuse::Operand;
use crate::graph::{Graph, Size};

/// What a plan is made for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) batch: usize,
    /// The size of the network's input.
    pub(super) input: Size,
    pub(super) source: Source,
    pub(super) answer: Answer,
}

/// What a call computes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// Maps of the fused network, which stay in memory.
    Maps(Vec<usize>),
    /// The class of each pixel of images, of which the network sees `valid`: the upper left of its input.
    Labels { valid: Size, image: Size },
}

/// All work of a call, at symbolic addresses.
#[derive(Debug)]
pub(super) struct Plan {
    works: Vec<Work>,
    /// The maps of the fused network.
    maps: Vec<Part>,
    /// Where each buffer lies in the arena.
    offsets: Vec<usize>,
    /// Bytes of the arena.
    pub(super) bytes: usize,
    /// Constants that the work reads.
    pub(super) tables: Vec<u8>,
    /// Where in the arena the source has to be before the work begins.
    pub(super) source: Range<usize>,
    /// Where in the arena the classes are at the end, and behind them the byte that says whether a logit was not
    /// finite; empty where no classes are wanted.
    pub(super) labels: Range<usize>,
}

/// Where memory lies on the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bases {
    pub(super) arena: u64,
    pub(super) weights: u64,
    pub(super) tables: u64,
}

impl Plan {
    /// Makes a plan. No step runs after the last that writes a wanted map.
    ///
    /// # Errors
    /// Those of [`Graph::sizes`]; [`Error::Executor`](crate::Error::Executor) where a map is too large for the kernels.
    pub(super) fn new(program: &Program, graph: &Graph, request: &Request) -> Result<Self> {
        let (fused, sizes) = (&program.fused, graph.sizes(request.input.height, request.input.width)?);
        let mut lowering = Lowering::new(program, request.batch, &sizes)?;
        let mut tables = Tables::default();
        let input = lowering.maps[0];
        let source = ends::source(&mut lowering, &request.source, input, &mut tables);
        let wanted = match &request.answer {
            Answer::Maps(maps) => maps.clone(),
            Answer::Labels { .. } => vec![fused.logits.map],
        };
        let end = fused.steps.iter().rposition(|step| wanted.contains(&step.output.map)).map_or(0, |last| last + 1);
        for (step, weights) in fused.steps[..end].iter().zip(&program.weights) {
            lowering.step(step, weights)?;
        }
        let (labels, kept): (Option<usize>, Vec<usize>) = match request.answer {
            // The maps' buffers are the first, in their order.
            Answer::Maps(_) => (None, wanted.iter().map(|map| FIRST + map).collect()),
            Answer::Labels { valid, image } => {
                let part = lowering.part(fused.logits);
                let output = sizes[fused.output.like.index()];
                let logits = Logits { part, output, align_corners: fused.output.align_corners };
                let labels = ends::labels(&mut lowering, logits, valid, image)?;
                (Some(labels), vec![labels])
            }
        };
        let Lowering { works, maps, buffers, .. } = lowering;
        let (offsets, bytes) = place(&lives(&works, buffers.len(), &kept), &buffers);
        let range = |buffer: usize| {
            let offset = offsets[buffer - FIRST];
            offset..offset + buffers[buffer - FIRST]
        };
        let (source, labels) = (range(source), labels.map_or(0..0, range));
        Ok(Self { works, maps, offsets, bytes, tables: tables.0, source, labels })
    }

    /// The work at the device's addresses.
    pub(super) fn works_at(&self, bases: Bases) -> Vec<Work> {
        let mut works = self.works.clone();
        works.iter_mut().for_each(|work| work.relocate(&mut |address| self.resolve(address, bases)));
        works
    }

    /// The work at symbolic addresses.
    #[cfg(test)]
    pub(super) fn works(&self) -> &[Work] {
        &self.works
    }

    /// The size of a map.
    pub(super) fn size_of(&self, operand: Operand) -> Size {
        self.maps[operand.map].size
    }

    /// The launch that copies some channels of a map, resized to the size `to`, into planes `[N, C, H, W]` at an address
    /// of the device.
    pub(super) fn to_planes(
        &self,
        operand: Operand,
        (to, align_corners): (Size, bool),
        bases: Bases,
        planes: u64,
    ) -> Launch {
        let map = self.maps[operand.map].narrow(operand.offset, operand.channels);
        let (v, h) = axes(map.size, to, align_corners);
        let (images, height, width) = (map.images as u32, to.height as u32, to.width as u32);
        let args = ToPlanes { map: map.view(), planes: Address::default(), v, h, images, height, width };
        let kernel = format!("to_planes_{}", map.number.suffix());
        let mut launch = Launch::new(kernel, [to.width, map.channels * to.height, map.images], args);
        launch.args.relocate(&mut |address| match address {
            Address(0) => Address(planes),
            address => self.resolve(address, bases),
        });
        launch
    }

    /// The number of launches of kernels and of matmuls.
    #[cfg(test)]
    pub(super) fn launches(&self) -> usize {
        self.works.iter().filter(|work| !matches!(work, Work::Clear { .. })).count()
    }

    fn resolve(&self, address: Address, bases: Bases) -> Address {
        match buffer_and_offset(address) {
            None => address,
            Some((WEIGHTS, offset)) => Address(bases.weights + offset),
            Some((TABLES, offset)) => Address(bases.tables + offset),
            Some((buffer, offset)) => Address(bases.arena + self.offsets[buffer - FIRST] as u64 + offset),
        }
    }
}

/// From which work to which each buffer of the arena is needed; those that are `kept`, until after the last. The source is
/// read by the first work.
fn lives(works: &[Work], buffers: usize, kept: &[usize]) -> Vec<Option<RangeInclusive<usize>>> {
    let mut lives: Vec<Option<RangeInclusive<usize>>> = vec![None; buffers];
    let uses = works.iter().enumerate().flat_map(|(index, work)| work.buffers().into_iter().map(move |of| (of, index)));
    for (buffer, index) in uses.chain(kept.iter().map(|buffer| (*buffer, works.len()))) {
        if let Some(life) = buffer.checked_sub(FIRST).and_then(|buffer| lives.get_mut(buffer)) {
            *life = Some(life.as_ref().map_or(index, |life| *life.start())..=index);
        }
    }
    lives
}
