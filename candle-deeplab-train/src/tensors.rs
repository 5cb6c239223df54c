//! Named f32 tensors in a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use candle_core::{Device, Tensor};
use candle_deeplab::header::{self, MAX_HEADER};
use candle_deeplab::{atomic, file};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use crate::error::{Error, Result};

/// The bytes of an f32.
const SIZE: usize = size_of::<f32>();

/// The content of a file: tensors by name, and bytes of the caller's.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// Stored as the u8 tensor [`NOTES`], since the metadata of the format are strings only and lost by many readers.
    pub(crate) notes: Option<Vec<u8>>,
}

/// The name of the tensor that holds [`Contents::notes`].
const NOTES: &str = "notes";

/// Writes a file atomically.
pub(crate) fn write(path: &Path, contents: &Contents) -> Result<()> {
    let (mut infos, mut offset) = (vec![], 0);
    let mut add = |name: &str, dtype, shape: Vec<usize>, size: usize| {
        let end = offset + size * shape.iter().product::<usize>();
        infos.push((name.to_owned(), TensorInfo { dtype, shape, data_offsets: (offset, end) }));
        offset = end;
    };
    for (name, tensor) in &contents.tensors {
        add(name, Dtype::F32, tensor.dims().to_vec(), SIZE);
    }
    if let Some(notes) = &contents.notes {
        add(NOTES, Dtype::U8, vec![notes.len()], 1);
    }
    let content = |file: &mut BufWriter<&mut File>| {
        file.write_all(&header::encode(None, infos)?)?;
        for tensor in contents.tensors.values() {
            let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).map_err(io::Error::other)?;
            for value in values {
                file.write_all(&value.to_le_bytes())?;
            }
        }
        file.write_all(contents.notes.as_deref().unwrap_or_default())
    };
    Ok(atomic::write(path, content)?)
}

/// Reads a file onto the CPU.
pub(crate) fn read(path: &Path) -> Result<Contents> {
    let damaged = |reason: String| Error::data(path, format!("is not a whole file of this program: {reason}"));
    let mut file = file::open(path)?;
    let len = file.metadata().map_err(Error::io(path))?.len();
    let mut prefix = [0; 8];
    file.read_exact(&mut prefix).map_err(|_| damaged(format!("it has {len} bytes")))?;
    let header_len = u64::from_le_bytes(prefix);
    if header_len > MAX_HEADER.min(len - 8) {
        return Err(damaged(format!("its header claims {header_len} bytes, and it has {len}")));
    }
    let mut header = vec![0; header_len as usize];
    file.read_exact(&mut header).map_err(Error::io(path))?;
    let header = header::parse(&header).map_err(damaged)?;
    let wanted = (header_len + 8).saturating_add(header.data_len() as u64);
    if wanted != len {
        return Err(damaged(format!("its header describes {wanted} bytes, and it has {len}")));
    }
    let mut data = vec![];
    file.read_to_end(&mut data).map_err(Error::io(path))?;
    let mut contents = Contents::default();
    for (name, info) in header.tensors() {
        let bytes = data.get(info.data_offsets.0..info.data_offsets.1);
        let bytes = bytes.ok_or_else(|| damaged(format!("`{name}` lies outside of it")))?;
        match info.dtype {
            Dtype::F32 => {
                let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
                contents.tensors.insert(name, Tensor::from_vec(values, info.shape.as_slice(), &Device::Cpu)?);
            }
            Dtype::U8 if name == NOTES => contents.notes = Some(bytes.to_vec()),
            dtype => return Err(damaged(format!("`{name}` is {dtype:?}"))),
        }
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents {
        let tensor = Tensor::from_vec(vec![1f32, -0.0, f32::MIN_POSITIVE / 2.0, 3.5], (2, 2), &Device::Cpu).unwrap();
        let empty = Tensor::zeros((0, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        Contents { tensors: [("a.b".into(), tensor), ("none".into(), empty)].into(), notes: Some(b"{}".to_vec()) }
    }

    #[test]
    fn what_is_written_is_read_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        write(&path, &contents()).unwrap();
        let read = read(&path).unwrap();
        assert_eq!(read.notes.as_deref(), Some(&b"{}"[..]));
        for (name, tensor) in contents().tensors {
            let bits = |t: &Tensor| -> Vec<u32> {
                t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
            };
            assert_eq!((read.tensors[&name].dims(), bits(&read.tensors[&name])), (tensor.dims(), bits(&tensor)));
        }
    }

    #[test]
    fn a_file_that_is_not_whole_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        write(&path, &contents()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for len in [0, 7, 8, 50, whole.len() - 1] {
            std::fs::write(&path, &whole[..len]).unwrap();
            let said = read(&path).unwrap_err().to_string();
            assert!(said.contains("x.safetensors: is not a whole file"), "{said}");
        }
        std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
        assert!(read(&path).is_err());
        std::fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
        assert!(read(&path).is_err());
    }
}
