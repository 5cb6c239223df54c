//! safetensors: a JSON header, then the bytes of all tensors without gaps.

use std::collections::BTreeMap;

use candle_deeplab::header::{self, MAX_HEADER};

use super::file::PlainFile;
use super::reader::{Opened, Reader};
use super::tensor::{Geometry, RawTensor, TensorInfo};
use crate::dtype::DType;
use crate::format::Format;
use crate::{Error, Result};

/// The length of the header.
const PREFIX: u64 = 8;

struct Safetensors {
    file: PlainFile,
    /// Where the bytes of each tensor begin in the file, and how many they are.
    places: BTreeMap<String, (u64, usize)>,
}

/// Whether a file that begins with `head` can be safetensors.
pub(crate) fn is_safetensors(head: &[u8]) -> bool {
    match head.split_first_chunk() {
        Some((len, rest)) => u64::from_le_bytes(*len) <= MAX_HEADER && rest.first() == Some(&b'{'),
        None => false,
    }
}

/// Opens a safetensors file.
pub(crate) fn open(file: PlainFile) -> Result<Opened> {
    let path = file.path().to_owned();
    let malformed = |what: String| Error::Malformed { path: path.clone(), format: Format::Safetensors, what };

    let len = file.read(0, 8)?.first_chunk().map_or(u64::MAX, |len| u64::from_le_bytes(*len));
    let data_start = PREFIX.checked_add(len).filter(|&end| len <= MAX_HEADER && end <= file.len());
    let (Some(data_start), Ok(len)) = (data_start, usize::try_from(len)) else {
        return Err(malformed(format!("its header claims {len} bytes, the file has {}", file.len())));
    };
    let header = header::parse(&file.read(PREFIX, len)?);
    let header = header.map_err(|e| malformed(format!("its header: {e}")))?;
    let claimed = (header.data_len() as u64).checked_add(data_start);
    if claimed != Some(file.len()) {
        let what = format!("its tensors end at byte {claimed:?}, the file at byte {}", file.len());
        return Err(malformed(what));
    }

    let (mut tensors, mut places) = (BTreeMap::new(), BTreeMap::new());
    for (name, info) in header.tensors() {
        let dtype = DType::from_safetensors(info.dtype).ok_or_else(|| Error::UnknownDType {
            path: path.clone(),
            tensor: name.clone(),
            code: format!("{:?}", info.dtype),
        })?;
        let (start, end) = info.data_offsets;
        let place = data_start.checked_add(start as u64).zip(end.checked_sub(start));
        places.insert(name.clone(), place.ok_or_else(|| malformed(format!("the offsets of `{name}`")))?);
        tensors.insert(name, TensorInfo { dtype, shape: info.shape.clone(), variable: true, quantized: false });
    }
    Ok(Opened {
        bytes: file.len(),
        reader: Box::new(Safetensors { file, places }),
        tensors,
        geometry: Geometry::default(),
        decisions: Vec::new(),
    })
}

impl Safetensors {
    fn place(&self, name: &str) -> Result<(u64, usize)> {
        let unknown = || Error::UnknownTensor { path: self.file.path().to_owned(), tensor: name.to_owned() };
        self.places.get(name).copied().ok_or_else(unknown)
    }
}

impl Reader for Safetensors {
    fn read(&self, name: &str, info: &TensorInfo) -> Result<RawTensor> {
        let (offset, size) = self.place(name)?;
        Ok(RawTensor::new(info, self.file.read(offset, size)?))
    }

    /// The format has no checksums, so that this shows only that every byte can be read.
    fn check(&self, name: &str, _: &TensorInfo) -> Result<()> {
        let (offset, size) = self.place(name)?;
        let mut section = self.file.section(offset, size as u64);
        let copied = std::io::copy(&mut section, &mut std::io::sink());
        copied.map(drop).map_err(|e| self.file.failed(offset, size as u64, e))
    }
}
