//! Which converter made a model directory.

/// This crate and its version, which `config.json` records as the converter.
pub const CONVERTER: &str = concat!("weights-convert ", env!("CARGO_PKG_VERSION"));

/// Rises whenever a published file converts to something else than before: a cache then converts it again.
pub const REVISION: u32 = 3;
