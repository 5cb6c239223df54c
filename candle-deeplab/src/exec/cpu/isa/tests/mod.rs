//! Compares every kernel of every instruction set that this machine has with a scalar reference in double precision.

mod depthwise;
mod matmul;
mod patch;
mod refusal;

use proptest::prelude::*;

use super::{Isa, Kernels, Precision};
use crate::exec::fuse::Clamp;

/// Pseudo-random numbers in (−1, 1).
pub(in super::super) fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn clamps() -> impl Strategy<Value = Clamp> {
    prop_oneof![Just(Clamp::NONE), Just(Clamp { low: 0.0, high: f32::INFINITY }), Just(Clamp { low: 0.0, high: 0.5 }),]
}

fn kernels() -> impl Iterator<Item = Kernels> {
    Isa::available().filter_map(|isa| Kernels::new(isa, Precision::F32).ok())
}

/// The value around a result, which must not change.
pub(in super::super) const UNTOUCHED: f32 = 777.0;
