//! What both formats of PyTorch share: a description in a pickle, and records with the bytes of the storages.

use std::collections::BTreeMap;
use std::path::Path;

use super::file::PlainFile;
use super::pickle::{Fault, Pickle};
use super::reader::{Opened, Reader};
use super::tensor::{Geometry, RawTensor, TensorInfo};
use super::torch_record::Records;
use super::torch_state;
use super::torch_tensor::{Storages, View};
use crate::dtype::DType;
use crate::format::Format;
use crate::{Error, Result};

struct Torch {
    file: PlainFile,
    views: BTreeMap<String, View>,
    big_endian: bool,
}

/// Finds the state dict in a file's description (the one called `state`, where that is told) and where its tensors lie.
pub(crate) fn opened(
    file: PlainFile,
    pickle: &Pickle,
    storages: &Storages<'_>,
    records: &Records,
    big_endian: bool,
    state: Option<&str>,
) -> Result<Opened> {
    let path = file.path();
    let found = torch_state::find(path, pickle, state)?;
    let (mut tensors, mut views) = (BTreeMap::new(), BTreeMap::new());
    for (name, call) in found.tensors {
        let (info, view) = View::new(path, &name, &pickle.values, call, storages, records)?;
        tensors.insert(name.clone(), info);
        views.insert(name, view);
    }
    let bytes = file.len();
    let reader = Box::new(Torch { file, views, big_endian });
    Ok(Opened { reader, bytes, tensors, geometry: Geometry::default(), decisions: found.decisions })
}

/// This crate's error for a pickle that is not read.
pub(crate) fn fault(path: &Path, format: Format, fault: Fault) -> Error {
    let path = path.to_owned();
    match fault {
        Fault::Ended => Error::Malformed { path, format, what: "its pickle ends early".into() },
        Fault::Forbidden(global) => Error::ForbiddenGlobal { path, global },
        Fault::Bad(what) => Error::Malformed { path, format, what },
    }
}

impl Torch {
    fn view(&self, name: &str) -> Result<&View> {
        let unknown = || Error::UnknownTensor { path: self.file.path().to_owned(), tensor: name.to_owned() };
        self.views.get(name).ok_or_else(unknown)
    }
}

impl Reader for Torch {
    fn read(&self, name: &str, info: &TensorInfo) -> Result<RawTensor> {
        let mut data = self.view(name)?.read(&self.file, info)?;
        if self.big_endian {
            swap(&mut data, info);
        }
        Ok(RawTensor::new(info, data))
    }

    /// The checksum is that of the whole storage. The legacy format has none, and then this shows only that every byte
    /// can be read.
    fn check(&self, name: &str, _: &TensorInfo) -> Result<()> {
        self.view(name)?.record.check(&self.file)
    }
}

/// Reverses the bytes of each number. A complex number is two of them.
fn swap(data: &mut [u8], info: &TensorInfo) {
    use DType::{Complex64, Complex128};
    let size = info.dtype.size().unwrap_or(1);
    let size = if matches!(info.dtype, Complex64 | Complex128) { size / 2 } else { size };
    data.chunks_exact_mut(size).for_each(<[u8]>::reverse);
}
