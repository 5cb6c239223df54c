//! What runs a graph: [`eager`] everywhere and with gradients, [`cpu`] fast on the CPU.

pub mod cpu;
pub mod eager;
pub(crate) mod fold;

pub use cpu::{Isa, Precision};

/// Which executor a model uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Executor {
    /// The fused one where there is a fast one for the device (today: a CPU with AVX2 or AVX-512) and the weights are no
    /// variables; eager otherwise, and for inputs that a gradient is wanted of.
    #[default]
    Auto,
    /// Candle's tensors, node by node.
    Eager,
    /// The fused one for the CPU, with these instructions.
    Cpu(Isa),
}
