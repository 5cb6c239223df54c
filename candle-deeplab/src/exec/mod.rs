//! Executors that run a graph: [`eager`] works anywhere and has gradients, [`cpu`] is fast on the CPU.

pub(crate) mod choice;
pub mod cpu;
pub mod eager;
pub(crate) mod fold;
pub(crate) mod fuse;

pub use choice::{Executor, Isa, Precision, Unavailable};
