//! The Open Inference Protocol, version 2, as KServe and Triton speak it: metadata, health, inference with JSON and with the
//! binary tensor extension, and the repository extension.

pub(crate) mod infer;
pub(crate) mod metadata;
pub(crate) mod repository;
mod tensor;

use axum::http::StatusCode;

use crate::problem::{Problem, Result};

/// The version of every model. The protocol lets a client name one.
const VERSION: &str = "1";

/// The input: images.
const INPUT: &str = "image";
/// The outputs.
const LABEL_MAP: &str = "label_map";
const PROBABILITIES: &str = "probabilities";

/// Checks the version that a client names.
fn check_version(version: &str) -> Result<()> {
    match version {
        VERSION => Ok(()),
        _ => Err(Problem::new(StatusCode::NOT_FOUND, format!("models have version {VERSION} only"))),
    }
}
