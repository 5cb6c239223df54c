//! Code that the process and parity tests share.

#![allow(dead_code)] // each test uses its part

pub(crate) mod golden;
pub(crate) mod hash;
pub(crate) mod shared;
