//! Runs a network on a GPU with fused kernels, for inference at any batch and input size.
//!
//! `exec::fuse` turns the graph into steps; `pack` folds and packs their weights; `lower` and `ends` turn the steps for an
//! input size into launches and matmuls; `arena` places their buffers, and `plan` keeps it all. None of that needs a GPU:
//! the tests run whole plans with the kernels compiled as C++. With the feature `cuda`, `executor` runs plans on candle's
//! device and stream, and records each as a CUDA graph.
//!
//! Feature maps are stored channels last, as f32, f16 or bf16: a 1×1 convolution is then a matmul of pixels, and eight
//! channels of a pixel are 16 bytes for a thread.

mod arena;
mod batch;
mod ends;
pub(crate) mod kernels;
mod lower;
mod pack;
mod part;
mod plan;
mod resample;
#[cfg(test)]
mod tests;
mod work;
