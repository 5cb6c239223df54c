//! What runs a graph.

pub mod eager;
