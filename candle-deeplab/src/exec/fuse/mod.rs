//! What executors fuse into a step.

mod clamp;

pub(crate) use clamp::Clamp;
