//! Executors that run a graph: [`eager`] works anywhere and has gradients, [`train`] trains, [`cpu`] is fast on the CPU,
//! and with the feature `cuda`, `cuda` is a fused executor for GPUs.

pub(crate) mod backend;
pub(crate) mod choice;
pub mod cpu;
// Most of it needs no GPU and is tested without one.
#[cfg(any(test, feature = "cuda"))]
pub mod cuda;
pub mod eager;
pub(crate) mod fold;
pub(crate) mod fuse;
#[cfg(test)]
pub(crate) mod testing;
pub mod train;

pub use choice::{Executor, GpuPrecision, Isa, Precision, Unavailable};
