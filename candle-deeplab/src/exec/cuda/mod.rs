//! Runs a network on a GPU with fused kernels, for inference at any batch and input size. **It has not yet run on a GPU.**
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
#[cfg(feature = "cuda")]
mod executor;
#[cfg(feature = "cuda")]
mod gemm;
pub(crate) mod kernels;
mod lower;
mod pack;
mod part;
mod plan;
#[cfg(feature = "cuda")]
mod ready;
#[cfg(feature = "cuda")]
mod recording;
mod resample;
#[cfg(test)]
mod tests;
mod work;

#[cfg(feature = "cuda")]
pub use executor::Cuda;
#[cfg(feature = "cuda")]
pub(crate) use executor::Pictures;
