//! The memory of one call, kept for the next.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::aligned::Aligned;
use super::plan::Plan;
use super::view::{View, ViewMut};
use crate::exec::fuse::Operand;

/// An arena that is more than this many times as large as a call needs is too large for it.
const SLACK: usize = 2;

/// Memory is freed after it was too large for this many calls in a row. It is not freed at once: an image at several
/// scales, or in tiles, takes a few sizes in turn, and so does the next image.
const PATIENCE: usize = 32;

/// The buffers of a plan, and the other memory of a call.
#[derive(Debug, Default)]
pub(super) struct Arena {
    buffers: Vec<Aligned>,
    /// For how many calls in a row it has been too large.
    idle: usize,
    /// The first row of each map that is in memory. Rows are numbered through all images.
    tops: Vec<usize>,
    /// The logits as planes.
    pub(super) planes: Aligned,
    /// Scratch memory for the running step.
    pub(super) scratch: Aligned,
}

impl Arena {
    /// Makes room for a plan.
    fn fit(&mut self, plan: &Plan) {
        let (has, needed): (usize, usize) =
            (self.buffers.iter().map(|buffer| buffer.len()).sum(), plan.buffers.iter().sum());
        self.idle = if has / SLACK > needed { self.idle + 1 } else { 0 };
        if self.idle > PATIENCE {
            *self = Self::default();
        }
        if self.buffers.len() < plan.buffers.len() {
            self.buffers.resize_with(plan.buffers.len(), Aligned::default);
        }
        for (buffer, len) in self.buffers.iter_mut().zip(&plan.buffers) {
            buffer.grow(*len);
        }
        self.tops.clear();
        self.tops.resize(plan.maps.len(), 0);
    }

    /// Some channels of a map.
    pub(super) fn view(&self, plan: &Plan, operand: Operand) -> View<'_> {
        let map = plan.maps[operand.map];
        View {
            data: &self.buffers[map.buffer][..map.rows * map.line()][operand.offset..],
            first: self.tops[operand.map] * map.size.width,
            pitch: map.pitch,
            channels: operand.channels,
            height: map.size.height,
            width: map.size.width,
        }
    }

    /// Lets `write` fill rows of a map while it reads other maps from the arena, which lie in other buffers.
    pub(super) fn write(
        &mut self,
        plan: &Plan,
        operand: Operand,
        rows: Range<usize>,
        write: impl FnOnce(&Self, ViewMut),
    ) {
        let map = plan.maps[operand.map];
        let mut buffer = std::mem::take(&mut self.buffers[map.buffer]);
        let view = ViewMut {
            data: &mut buffer[(rows.start - self.tops[operand.map]) * map.line()..][..rows.len() * map.line()],
            first: rows.start * map.size.width,
            pitch: map.pitch,
            offset: operand.offset,
            channels: operand.channels,
            height: map.size.height,
            width: map.size.width,
        };
        write(self, view);
        self.buffers[map.buffer] = buffer;
    }

    /// Moves rows of a map to the beginning of its memory, which makes room for the rows below them.
    pub(super) fn keep(&mut self, plan: &Plan, map: usize, rows: Range<usize>) {
        let (buffer, line) = (plan.maps[map].buffer, plan.maps[map].line());
        let top = std::mem::replace(&mut self.tops[map], rows.start);
        let (start, len) = ((rows.start - top) * line, rows.len() * line);
        let data = &mut self.buffers[buffer];
        if start < len {
            data.copy_within(start..start + len, 0);
        } else {
            let (to, from) = data.split_at_mut(start);
            let lines = to[..len].par_chunks_mut(line).zip(from[..len].par_chunks(line));
            lines.for_each(|(to, from)| to.copy_from_slice(from));
        }
    }
}

/// Arenas that wait for a call: as many as there were calls at once, but no more than the pool has threads.
#[derive(Debug, Default)]
pub(super) struct Arenas(Mutex<Vec<Arena>>);

impl Arenas {
    /// Lends an arena with room for a plan.
    pub(super) fn with<R>(&self, plan: &Plan, run: impl FnOnce(&mut Arena) -> R) -> R {
        let waiting = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut arena = waiting().pop().unwrap_or_default();
        arena.fit(plan);
        let result = run(&mut arena);
        let mut waiting = waiting();
        if waiting.len() < rayon::current_num_threads() {
            waiting.push(arena);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Axis, Size};

    fn plan(buffers: &[usize]) -> Plan {
        let axis = || Axis::new(1, 1, true);
        let (maps, steps, buffers) = (vec![], vec![], buffers.to_vec());
        let (output, output_axes) = (Size::new(1, 1), (axis(), axis()));
        Plan { batch: 1, maps, steps, stretches: vec![], buffers, output, output_axes }
    }

    /// Lengths of the buffers, and where the first lies.
    fn memory(arenas: &Arenas, plan: &Plan) -> (Vec<usize>, *const f32) {
        arenas.with(plan, |arena| (arena.buffers.iter().map(|b| b.len()).collect(), arena.buffers[0].as_ptr()))
    }

    #[test]
    fn memory_is_used_again_and_given_back_when_it_has_long_been_too_large() {
        let (arenas, small, large) = (Arenas::default(), plan(&[100]), plan(&[1000, 50]));
        let (lengths, place) = memory(&arenas, &large);
        assert_eq!(lengths, [1000, 50]);
        // Nothing is allocated while sizes take turns, or differ little.
        let half = plan(&[500, 25]);
        for _ in 0..3 {
            (0..PATIENCE).for_each(|_| assert_eq!(memory(&arenas, &small), (vec![1000, 50], place)));
            assert_eq!(memory(&arenas, &large), (vec![1000, 50], place));
            (0..2 * PATIENCE).for_each(|_| assert_eq!(memory(&arenas, &half), (vec![1000, 50], place)));
        }
        (0..PATIENCE).for_each(|_| _ = memory(&arenas, &small));
        assert_eq!(memory(&arenas, &small).0, [100]);
    }

    #[test]
    fn no_more_arenas_wait_than_the_pool_has_threads() {
        fn nested(arenas: &Arenas, plan: &Plan, calls: usize) {
            arenas.with(plan, |_| {
                if calls > 1 {
                    nested(arenas, plan, calls - 1)
                }
            });
        }
        let (arenas, plan) = (Arenas::default(), plan(&[10]));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| nested(&arenas, &plan, 1));
        assert_eq!(arenas.0.lock().unwrap().len(), 1);
        pool.install(|| nested(&arenas, &plan, 5));
        assert_eq!(arenas.0.lock().unwrap().len(), 2);
    }
}
