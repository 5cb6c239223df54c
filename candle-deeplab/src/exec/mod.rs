//! What runs a graph: [`eager`] anywhere and with gradients, [`cpu`] fast on the CPU.

pub(crate) mod choice;
pub mod cpu;
pub mod eager;
pub(crate) mod fold;
pub(crate) mod fuse;

pub use choice::{Executor, Isa, Precision, Unavailable};
