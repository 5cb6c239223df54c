//! The memory of one call, kept for the next.

use std::sync::{Mutex, PoisonError};

use super::aligned::Aligned;
use super::plan::Plan;
use super::program::Operand;
use super::view::{View, ViewMut};

/// The buffers of a plan, and a place for the logits as planes.
#[derive(Debug, Default)]
pub(super) struct Arena {
    buffers: Vec<Aligned>,
    pub(super) planes: Aligned,
    /// What a step needs while it runs.
    pub(super) scratch: Aligned,
}

impl Arena {
    fn fit(&mut self, plan: &Plan) {
        if self.buffers.len() < plan.buffers.len() {
            self.buffers.resize_with(plan.buffers.len(), Aligned::default);
        }
        for (buffer, len) in self.buffers.iter_mut().zip(&plan.buffers) {
            buffer.grow(*len);
        }
    }

    pub(super) fn view(&self, plan: &Plan, operand: Operand) -> View<'_> {
        let shape = plan.maps[operand.map];
        let len = plan.batch * shape.height * shape.width * shape.pitch;
        View {
            data: &self.buffers[shape.buffer][..len][operand.offset..],
            pitch: shape.pitch,
            channels: operand.channels,
            batch: plan.batch,
            height: shape.height,
            width: shape.width,
        }
    }

    /// Lets `write` fill a map while it reads others from the arena; theirs are other buffers.
    pub(super) fn write(&mut self, plan: &Plan, operand: Operand, write: impl FnOnce(&Self, ViewMut)) {
        let shape = plan.maps[operand.map];
        let len = plan.batch * shape.height * shape.width * shape.pitch;
        let mut buffer = std::mem::take(&mut self.buffers[shape.buffer]);
        let view = ViewMut {
            data: &mut buffer[..len],
            pitch: shape.pitch,
            offset: operand.offset,
            channels: operand.channels,
            height: shape.height,
            width: shape.width,
        };
        write(self, view);
        self.buffers[shape.buffer] = buffer;
    }
}

/// Arenas that wait for a call: as many as there were calls at once.
#[derive(Debug, Default)]
pub(super) struct Arenas(Mutex<Vec<Arena>>);

impl Arenas {
    /// Lends an arena with room for a plan.
    pub(super) fn with<R>(&self, plan: &Plan, run: impl FnOnce(&mut Arena) -> R) -> R {
        let waiting = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut arena = waiting().pop().unwrap_or_default();
        arena.fit(plan);
        let result = run(&mut arena);
        waiting().push(arena);
        result
    }
}
