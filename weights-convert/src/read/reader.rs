//! What every format offers: its tensors, and a way to their bytes.

use std::collections::BTreeMap;

use super::tensor::{Geometry, RawTensor, TensorInfo};
use crate::decision::Decision;
use crate::error::Result;

/// One format's way to a tensor's bytes. Names and infos are those that opening gave.
pub(crate) trait Reader: Send + Sync {
    fn read(&self, name: &str, info: &TensorInfo) -> Result<RawTensor>;
    /// Reads as [`Reader::read`] does, but keeps nothing.
    fn check(&self, name: &str, info: &TensorInfo) -> Result<()>;
}

/// What opening a file gives.
pub(crate) struct Opened {
    pub(crate) reader: Box<dyn Reader>,
    pub(crate) tensors: BTreeMap<String, TensorInfo>,
    pub(crate) geometry: Geometry,
    /// The bytes of all files that it reads.
    pub(crate) bytes: u64,
    /// What was decided about which of the file's values are the tensors.
    pub(crate) decisions: Vec<Decision>,
}
