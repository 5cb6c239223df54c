//! TFLite models: a FlatBuffer with a graph, its tensors, and the bytes of those that are constant.
//!
//! Layouts stay the file's: convolutions `[O, H, W, I]`, depthwise ones `[1, H, W, C·m]`. Field numbers are
//! the order of the fields in `tensorflow/lite/schema/schema.fbs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;

use super::file::PlainFile;
use super::flatbuffer::Table;
use super::quantization::Quantization;
use super::reader::{Opened, Reader};
use super::tensor::{RawTensor, TensorInfo};
use super::tflite_constants::{Constant, constants, string_ends};
use super::tflite_geometry::{Operators, is_for_edge_tpu};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::format::Format;

/// Four bytes into the file.
pub(crate) const MAGIC: &[u8] = b"TFL3";
/// FlatBuffers' own limit.
const MAX_FILE: u64 = (2 << 30) - 1;

struct TfLite {
    path: PathBuf,
    file: Bytes,
    places: BTreeMap<String, (Range<usize>, Option<Quantization>)>,
}

/// Opens a TFLite model.
pub(crate) fn open(file: &PlainFile) -> Result<Opened> {
    let path = file.path().to_owned();
    let malformed = |what: &str| Error::Malformed { path: path.clone(), format: Format::TfLite, what: what.into() };
    let bytes = file.read_all(MAX_FILE)?;

    let model = Table::root(&bytes).map_err(malformed)?;
    if is_for_edge_tpu(model).map_err(malformed)? {
        return Err(Error::Foreign {
            path,
            kind: "a TFLite model compiled for the Edge TPU (`edgetpu-custom-op`), whose weights only that chip reads",
            way_out: "convert the file that it was compiled from, whose name is the same without `_edgetpu`",
        });
    }
    let graph = model.tables(2).and_then(|graphs| graphs.get(0)).map_err(malformed)?;
    let buffers = model.tables(4).map_err(malformed)?;
    let constants = constants(&path, graph, buffers)?;

    let operators = Operators::new(model, graph).map_err(malformed)?;
    let weights: BTreeSet<usize> = operators.weights().map_err(malformed)?;
    let geometry = operators.geometry(&path, &constants)?;

    let (mut tensors, mut places) = (BTreeMap::new(), BTreeMap::new());
    for (number, Constant { name, info, place, quantization }) in constants {
        let info = TensorInfo { variable: weights.contains(&number), ..info };
        tensors.insert(name.to_owned(), info);
        places.insert(name.to_owned(), (place, quantization));
    }
    Ok(Opened {
        bytes: bytes.len() as u64,
        reader: Box::new(TfLite { path, file: bytes.clone(), places }),
        tensors,
        geometry,
        decisions: Vec::new(),
    })
}

impl Reader for TfLite {
    fn read(&self, name: &str, info: &TensorInfo) -> Result<RawTensor> {
        let unknown = || Error::UnknownTensor { path: self.path.clone(), tensor: name.to_owned() };
        let (place, quantization) = self.places.get(name).ok_or_else(unknown)?;
        let data = self.file.get(place.clone()).ok_or_else(unknown)?;
        if info.dtype == DType::Str {
            let (bytes, ends) = string_ends(data, info).ok_or_else(unknown)?;
            return Ok(RawTensor::of_strings(info.shape.clone(), bytes.to_vec(), ends));
        }
        Ok(RawTensor::new(info, data.to_vec()).quantized(quantization.clone()))
    }

    /// The whole file is in memory, and every tensor's place was checked when it was opened.
    fn check(&self, _: &str, _: &TensorInfo) -> Result<()> {
        Ok(())
    }
}
