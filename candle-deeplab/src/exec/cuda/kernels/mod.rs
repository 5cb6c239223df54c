//! The CUDA kernels: their sources, and how they are called.
//!
//! The sources are compiled at run time, for the GPU at hand. They read no headers, and with the definitions of
//! `tests/host.h` in front of them they are C++ for a CPU, where tests compare every kernel with its reference.

mod args;
mod launch;
#[cfg(feature = "cuda")]
mod load;
mod number;

pub(crate) use args::{
    Address, Args, Axis, Columns, Combination, Depthwise, DepthwisePlanes, FromPlanes, Function, Labels, MaxPool, Mean,
    Normalization, Patches, Pixels, Pointwise, Resize, Rows, Sums, Taps, ToPlanes, View, Window,
};
#[cfg(test)]
pub(crate) use launch::Grid;
pub(crate) use launch::Launch;
#[cfg(feature = "cuda")]
pub(crate) use load::{Module, cuda_error};
pub(crate) use number::Number;

/// The sources, each after those that it includes.
const SOURCES: [&str; 12] = [
    include_str!("kernel.cuh"),
    include_str!("number.cuh"),
    include_str!("resize.cuh"),
    include_str!("depthwise.cu"),
    include_str!("depthwise_planes.cu"),
    include_str!("labels.cu"),
    include_str!("patches.cu"),
    include_str!("pixels.cu"),
    include_str!("planes.cu"),
    include_str!("pointwise.cu"),
    include_str!("pool.cu"),
    include_str!("resize.cu"),
];

/// All sources as one, since the compiler at run time reads no files.
pub(crate) fn source() -> String {
    let is_code = |line: &&str| !line.starts_with("#include \"") && *line != "#pragma once";
    SOURCES.iter().flat_map(|source| source.lines().filter(is_code)).flat_map(|line| [line, "\n"]).collect()
}
