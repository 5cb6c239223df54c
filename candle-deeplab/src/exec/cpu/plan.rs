//! A program fitted to a batch and an input size: the geometry of each step, the bands, and which maps share memory.

use std::ops::RangeInclusive;

use super::bands::{self, Limits, Rows, Stretch};
use super::geometry::Geometry;
use super::pack::{Program, StepWeights};
use super::view::row_pitch;
use super::winograd;
use crate::error::Result;
use crate::exec::fuse::{Operation, Step};
use crate::graph::{Axis, Graph, Size};

/// All that a call needs besides the weights.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) batch: usize,
    pub(super) maps: Vec<MapInMemory>,
    /// The geometry of each step.
    pub(super) steps: Vec<Geometry>,
    pub(super) stretches: Vec<Stretch>,
    /// Floats of each buffer; maps whose lives do not overlap share one.
    pub(super) buffers: Vec<usize>,
    /// The size of the network's output.
    pub(super) output: Size,
    /// How the logits are resized to the output's size.
    pub(super) output_axes: (Axis, Axis),
}

/// A map in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapInMemory {
    pub(super) size: Size,
    /// Floats from one pixel to the next.
    pub(super) pitch: usize,
    /// How many rows are in memory at once, counted over all images.
    pub(super) rows: usize,
    pub(super) buffer: usize,
}

impl MapInMemory {
    /// Floats of a row.
    pub(super) fn line(&self) -> usize {
        self.size.width * self.pitch
    }
}

impl Plan {
    /// Makes a plan for the wanted maps: no step runs after the last that writes one of them.
    ///
    /// # Errors
    /// As [`Graph::sizes`].
    pub(super) fn new(
        program: &Program,
        graph: &Graph,
        [batch, height, width]: [usize; 3],
        limits: Limits,
        wanted: &[usize],
    ) -> Result<Self> {
        let (fused, sizes) = (&program.fused, graph.sizes(height, width)?);
        let size_of = |map: usize| sizes[fused.maps[map].size_of.index()];
        let steps = fused.steps.iter().zip(&program.weights);
        let geometry = |(step, weights)| geometry(step, weights, size_of(step.input.map), size_of(step.output.map));
        let steps: Vec<Geometry> = steps.map(geometry).collect();
        let pitch = |map: usize| row_pitch(fused.maps[map].channels);
        let rows_of = |map| Rows { count: size_of(map).height, line: size_of(map).width * pitch(map) };
        let maps: Vec<Rows> = (0..fused.maps.len()).map(rows_of).collect();
        let (mut stretches, in_memory) = bands::stretches(fused, &steps, &maps, limits, wanted);
        let rows = |map: usize| in_memory[map].unwrap_or(batch * maps[map].count);
        let lengths: Vec<usize> = (0..maps.len()).map(|map| rows(map) * maps[map].line).collect();
        let (buffer_of, buffers) = share(&lives(program, &stretches, wanted), &lengths);
        let end = fused.steps.iter().rposition(|step| wanted.contains(&step.output.map)).map_or(0, |last| last + 1);
        stretches.retain(|stretch| stretch.steps.start < end);
        let in_buffer = |(map, buffer)| MapInMemory { size: size_of(map), pitch: pitch(map), rows: rows(map), buffer };
        let output = sizes[fused.output.like.index()];
        Ok(Self {
            batch,
            maps: buffer_of.into_iter().enumerate().map(in_buffer).collect(),
            steps,
            stretches,
            buffers,
            output,
            output_axes: axes(size_of(fused.logits.map), output, fused.output.align_corners),
        })
    }
}

/// How a step is computed from a map of one size to a map of another. [`Graph::sizes`] has made sure that windows fit.
fn geometry(step: &Step, weights: &StepWeights, from: Size, to: Size) -> Geometry {
    if let Operation::Resize { align_corners } = step.operation {
        return Geometry::Resize(axes(from, to, align_corners));
    }
    let Some(windows) = step.operation.windows().and_then(|windows| windows.over(from)) else {
        return Geometry::Pointwise;
    };
    match weights {
        StepWeights::Dense(groups) if groups.iter().all(|conv| conv.suits_winograd) => {
            let of_group = |channels: usize| channels / groups.len();
            let floats = row_pitch(of_group(step.input.channels)) + of_group(step.output.channels);
            let span = winograd::best_span(windows, from, floats);
            span.map_or(Geometry::Windows(windows), |span| Geometry::Winograd(windows, span))
        }
        _ => Geometry::Windows(windows),
    }
}

/// The vertical and the horizontal axis of a resize.
fn axes(from: Size, to: Size, align_corners: bool) -> (Axis, Axis) {
    (Axis::new(from.height, to.height, align_corners), Axis::new(from.width, to.width, align_corners))
}

/// The liveness of each map, in stretches: the first and the last stretch that need it, since the steps of a stretch
/// run together.
fn lives(program: &Program, stretches: &[Stretch], wanted: &[usize]) -> Vec<RangeInclusive<usize>> {
    let stretch_of =
        stretches.iter().enumerate().flat_map(|(index, stretch)| stretch.steps.clone().map(move |_| index));
    // The wanted maps are read after the last step.
    let stretch_of: Vec<usize> = stretch_of.chain([stretches.len()]).collect();
    program.fused.lives(wanted).into_iter().map(|life| stretch_of[*life.start()]..=stretch_of[*life.end()]).collect()
}

/// Assigns a buffer to each map, and a length to each buffer. A map gets the shortest free buffer that is long enough;
/// if there is none, the longest free one, which grows.
fn share(lives: &[RangeInclusive<usize>], lengths: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&map| *lives[map].start());
    let (mut buffer_of, mut buffers, mut busy_until) = (vec![0; lives.len()], Vec::<usize>::new(), Vec::new());
    for map in order {
        let (first, last, length) = (*lives[map].start(), *lives[map].end(), lengths[map]);
        let free = (0..buffers.len()).filter(|&buffer| busy_until[buffer] < first);
        // Buffers that are too short come last, the longest of them first.
        let best = free.min_by_key(|&buffer| match buffers[buffer] {
            long if long >= length => (false, long),
            short => (true, usize::MAX - short),
        });
        let buffer = best.unwrap_or_else(|| {
            buffers.push(0);
            busy_until.push(0);
            buffers.len() - 1
        });
        buffers[buffer] = buffers[buffer].max(length);
        busy_until[buffer] = last;
        buffer_of[map] = buffer;
    }
    (buffer_of, buffers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_share_a_buffer_only_after_the_last_use() {
        // A chain of four maps, the first of which is needed until the end.
        let lives = [0..=3, 0..=1, 1..=2, 2..=3];
        let (buffer_of, buffers) = share(&lives, &[10, 20, 30, 5]);
        assert_eq!(buffer_of[3], buffer_of[1]);
        for a in 0..4 {
            for b in 0..a {
                let apart = lives[a].start() > lives[b].end() || lives[b].start() > lives[a].end();
                assert!(apart || buffer_of[a] != buffer_of[b], "{a} and {b}");
            }
        }
        assert_eq!(buffers.iter().sum::<usize>(), 60);
    }
}
