//! Runs a network on a GPU with fused kernels.

pub(crate) mod kernels;
