//! Executors that run a graph: [`eager`] works anywhere and has gradients, [`train`] trains, [`cpu`] is fast on the CPU.

pub(crate) mod choice;
pub mod cpu;
pub mod eager;
pub(crate) mod fold;
pub(crate) mod fuse;
#[cfg(test)]
pub(crate) mod testing;
pub mod train;

pub use choice::{Executor, Isa, Precision, Unavailable};
