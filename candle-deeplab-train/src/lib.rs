#![doc = include_str!("../README.md")]

pub mod augment;
mod checkpoint;
pub mod data;
mod error;
pub mod eval;
mod lines;
pub mod loader;
pub mod log;
pub mod loss;
pub mod optim;
mod random;
pub mod recipe;
pub mod run;
pub mod schedule;
pub mod start;
mod tensors;

pub use error::{Error, Result};
