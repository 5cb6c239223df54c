//! A program fitted to a batch and an input size: the geometry of every step, and which maps share memory.

use std::fmt;

use super::bands::{self, Limits, Rows, Stretch};
use super::conv::row_pitch;
use super::program::{Kernel, Program, Step};
use super::winograd;
use crate::error::Result;
use crate::graph::{Axis, Graph, Size, Window};

/// What a call needs to know besides the weights.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) batch: usize,
    pub(super) maps: Vec<Shape>,
    /// The geometry of each step.
    pub(super) steps: Vec<Geometry>,
    pub(super) stretches: Vec<Stretch>,
    /// Floats of each buffer; maps whose lives do not overlap share one.
    pub(super) buffers: Vec<usize>,
    /// Height and width of the network's output, and how the logits are resized to it.
    pub(super) output: (usize, usize),
    pub(super) output_axes: (Axis, Axis),
}

/// A map in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) pitch: usize,
    /// In memory at once.
    pub(super) rows: usize,
    pub(super) buffer: usize,
}

/// What of a step depends on sizes.
#[derive(Debug)]
pub(super) enum Geometry {
    Pointwise,
    Windows((Window, Window)),
    /// In [patches](super::winograd) that see so many inputs along an axis.
    Winograd((Window, Window), usize),
    Axes((Axis, Axis)),
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Winograd(..)) { " (Winograd)" } else { "" })
    }
}

impl Plan {
    /// # Errors
    /// As [`Graph::sizes`].
    pub(super) fn new(
        program: &Program,
        graph: &Graph,
        [batch, height, width]: [usize; 3],
        limits: Limits,
    ) -> Result<Self> {
        let sizes = graph.sizes(height, width)?;
        let size_of = |map: usize| sizes[program.maps[map].size_of.index()];
        let steps = program.steps.iter().map(|step| {
            let (from, to) = (size_of(step.input.map), size_of(step.output.map));
            match &step.kernel {
                Kernel::Dense(conv, windows) => windows.over(from).map_or(Geometry::Pointwise, |windows| {
                    let span =
                        winograd::best_span(windows, from, row_pitch(step.input.channels) + step.output.channels);
                    let span = span.filter(|_| conv.tiles);
                    span.map_or(Geometry::Windows(windows), |span| Geometry::Winograd(windows, span))
                }),
                Kernel::Depthwise(_, windows) | Kernel::MaxPool(windows) => {
                    windows.over(from).map_or(Geometry::Pointwise, Geometry::Windows)
                }
                Kernel::Resize { align_corners } => Geometry::Axes(axes(from, to, *align_corners)),
                Kernel::Clamp(_)
                | Kernel::HardSwish
                | Kernel::HardSigmoid
                | Kernel::Add
                | Kernel::Multiply
                | Kernel::GlobalPool => Geometry::Pointwise,
            }
        });
        let steps = steps.collect::<Vec<_>>();
        let pitch = |map: usize| row_pitch(program.maps[map].channels);
        let rows_of = |map| Rows { count: size_of(map).height, line: size_of(map).width * pitch(map) };
        let maps: Vec<Rows> = (0..program.maps.len()).map(rows_of).collect();
        let (stretches, in_memory) = bands::stretches(program, &steps, &maps, limits);
        let rows = |map: usize| in_memory[map].unwrap_or(batch * maps[map].count);
        let lengths: Vec<usize> = (0..maps.len()).map(|map| rows(map) * maps[map].line).collect();
        let (buffer_of, buffers) = share(&lives(program, &stretches), &lengths);
        let shape = |(map, buffer)| {
            let Size { height, width } = size_of(map);
            Shape { height, width, pitch: pitch(map), rows: rows(map), buffer }
        };
        let output = sizes[program.output.like.index()];
        Ok(Self {
            batch,
            maps: buffer_of.into_iter().enumerate().map(shape).collect(),
            steps,
            stretches,
            buffers,
            output: (output.height, output.width),
            output_axes: axes(size_of(program.logits.map), output, program.output.align_corners),
        })
    }
}

fn axes(from: Size, to: Size, align_corners: bool) -> (Axis, Axis) {
    (Axis::new(from.height, to.height, align_corners), Axis::new(from.width, to.width, align_corners))
}

/// First and last stretch that each map is needed in.
fn lives(program: &Program, stretches: &[Stretch]) -> Vec<(usize, usize)> {
    let mut lives = vec![(usize::MAX, 0); program.maps.len()];
    // The input is there before the first, the logits after the last.
    lives[0].0 = 0;
    lives[program.logits.map].1 = stretches.len();
    for (index, stretch) in stretches.iter().enumerate() {
        for operand in program.steps[stretch.steps.clone()].iter().flat_map(Step::operands) {
            let life = &mut lives[operand.map];
            *life = (life.0.min(index), life.1.max(index));
        }
    }
    lives
}

/// Gives each map a buffer, and each buffer its length: the smallest free one that is long enough, else the longest
/// free one, made longer.
fn share(lives: &[(usize, usize)], lengths: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&map| lives[map].0);
    let (mut buffer_of, mut buffers, mut busy_until) = (vec![0; lives.len()], Vec::<usize>::new(), Vec::new());
    for map in order {
        let ((first, last), length) = (lives[map], lengths[map]);
        let free = (0..buffers.len()).filter(|&buffer| busy_until[buffer] < first);
        // Those that are too short come last, the longest of them first.
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
        let lives = [(0, 3), (0, 1), (1, 2), (2, 3)];
        let (buffer_of, buffers) = share(&lives, &[10, 20, 30, 5]);
        assert_eq!(buffer_of[3], buffer_of[1]);
        for a in 0..4 {
            for b in 0..a {
                let apart = lives[a].0 > lives[b].1 || lives[b].0 > lives[a].1;
                assert!(apart || buffer_of[a] != buffer_of[b], "{a} and {b}");
            }
        }
        assert_eq!(buffers.iter().sum::<usize>(), 60);
    }
}
