//! The kernels as C++, one by one against their references, and whole plans that are run with them.

mod host;
mod kernels;
mod network;
mod plan;
#[expect(dead_code, reason = "tests of the program use the rest")]
#[path = "../../../../../tests/support/shared.rs"]
mod shared;
