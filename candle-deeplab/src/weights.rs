//! The sources of a model's tensors.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::config::CONFIG_FILE;
use crate::error::{Error, Result};
use crate::file::read_exact_at;
use crate::graph::{Graph, Param};
use crate::header::{self, MAX_HEADER};
use crate::mistaken;

/// The size in bytes of the header's length, which precedes the header.
const PREFIX: u64 = 8;
/// How many bytes are read at once: whole floats of any type.
const CHUNK: usize = 64 << 10;

/// The tensors of a network, ready to be handed to executors.
#[derive(Debug)]
pub(crate) enum Weights {
    /// In a file, from which an executor reads them as needed, so that its packed copy is the only one in memory.
    File(WeightsFile),
    /// The caller's tensors, by name.
    Tensors(HashMap<String, Tensor>),
}

impl Weights {
    /// A parameter as a tensor: the caller's tensor as it is, or from a file in f32 on `device`.
    pub(crate) fn tensor(&self, param: &Param, device: &Device) -> Result<Tensor> {
        match self {
            Self::File(file) => Ok(Tensor::from_vec(file.stored(param)?.all()?, param.shape.as_slice(), device)?),
            Self::Tensors(tensors) => {
                let missing = || candle_core::Error::CannotFindTensor { path: param.name.clone() }.bt();
                Ok(tensors.get(&param.name).cloned().ok_or_else(missing)?)
            }
        }
    }

    /// The values of a parameter.
    pub(crate) fn values(&self, param: &Param) -> Result<Values<'_>> {
        match self {
            Self::File(file) => Ok(Values::Stored(file.stored(param)?)),
            Self::Tensors(_) => Values::of(&self.tensor(param, &Device::Cpu)?),
        }
    }

    /// The type of the [tensors](Self::tensor). A network with tensors of several types has no input that suits them
    /// all.
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::File(_) => DType::F32,
            Self::Tensors(tensors) => tensors.values().next().map_or(DType::F32, Tensor::dtype),
        }
    }

    /// Whether an executor may keep a copy: the tensors do not change and need no gradients.
    pub(crate) fn are_constant_f32(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Tensors(tensors) => tensors.values().all(|tensor| tensor.dtype() == DType::F32 && !tensor.track_op()),
        }
    }
}

/// The content of a file of weights.
#[derive(Debug)]
enum Bytes {
    File(File),
    Embedded(&'static [u8]),
}

impl Bytes {
    fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Embedded(bytes) => Ok(bytes.len() as u64),
        }
    }

    fn read_exact_at(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => read_exact_at(file, to, offset),
            Self::Embedded(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let from = bytes.get(start..).and_then(|rest| rest.get(..to.len()));
                to.copy_from_slice(from.ok_or(ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// A `model.safetensors` whose header has been read.
///
/// The file stays open, so it stays the same file when another one is renamed into its place. It is read, not
/// memory-mapped: all touched pages of a mapped file would count as the process's memory besides the packed copy, and
/// truncating the file would crash the process.
#[derive(Debug)]
pub(crate) struct WeightsFile {
    /// The path in errors.
    path: PathBuf,
    bytes: Bytes,
    header: Metadata,
    /// The offset of the tensors' data.
    data: u64,
}

impl WeightsFile {
    /// Opens a file that must have exactly the graph's parameters: a missing or unexpected tensor, another shape, or a
    /// type that is not a float is an error.
    pub(crate) fn open(path: &Path, graph: &Graph) -> Result<Self> {
        Self::new(path, Bytes::File(crate::file::open(path)?), graph)
    }

    /// As [`open`](Self::open), for a file that is embedded in the program.
    pub(crate) fn embedded(name: &Path, bytes: &'static [u8], graph: &Graph) -> Result<Self> {
        Self::new(name, Bytes::Embedded(bytes), graph)
    }

    fn new(path: &Path, bytes: Bytes, graph: &Graph) -> Result<Self> {
        let len = bytes.len().map_err(Error::io(path))?;
        if len == 0 {
            return Err(Error::weights(path, "the file is empty: convert or download the model again"));
        }
        let mut head = vec![0; mistaken::HEAD.min(usize::try_from(len).unwrap_or(usize::MAX))];
        bytes.read_exact_at(&mut head, 0).map_err(Error::io(path))?;
        let damaged = |e: String| {
            let reason = match mistaken::kind(&head) {
                Some((kind, way_out)) => format!("it is {kind}, not a safetensors file: {way_out}"),
                None => format!("not a readable safetensors file ({e}): convert or download the model again"),
            };
            Error::weights(path, reason)
        };
        let mut prefix = [0; PREFIX as usize];
        bytes.read_exact_at(&mut prefix, 0).map_err(|_| damaged(format!("it has {len} bytes")))?;
        let header_len = u64::from_le_bytes(prefix);
        if header_len > MAX_HEADER.min(len - PREFIX) {
            return Err(damaged(format!("its header claims {header_len} bytes, and it has {len}")));
        }
        let mut header = vec![0; header_len as usize];
        bytes.read_exact_at(&mut header, PREFIX).map_err(Error::io(path))?;
        let header = header::parse(&header).map_err(damaged)?;
        let this = Self { path: path.to_owned(), data: PREFIX + header_len, header, bytes };
        let wanted = this.data.saturating_add(this.header.data_len() as u64);
        if wanted != len {
            return Err(damaged(format!("its header describes {wanted} bytes, and it has {len}")));
        }
        this.check(&graph.params())?;
        Ok(this)
    }

    fn check(&self, params: &[Param]) -> Result<()> {
        let tensors = self.header.tensors();
        let wanted: BTreeSet<&str> = params.iter().map(|p| p.name.as_str()).collect();
        let have: BTreeSet<&str> = tensors.keys().map(String::as_str).collect();
        if wanted != have {
            let reason = format!(
                "the weights are not those of the network in {CONFIG_FILE}: missing {}, unexpected {}",
                listed(&wanted - &have),
                listed(&have - &wanted)
            );
            return Err(Error::weights(&self.path, reason));
        }
        for Param { name, shape, .. } in params {
            let Some(info) = tensors.get(name) else { continue };
            if info.shape != *shape {
                let reason = format!("`{name}` has shape {:?}, the network wants {shape:?}", info.shape);
                return Err(Error::weights(&self.path, reason));
            }
            if !matches!(info.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64) {
                let reason = format!("`{name}` is {:?}, not a float that this program reads", info.dtype);
                return Err(Error::weights(&self.path, reason));
            }
        }
        Ok(())
    }

    fn stored(&self, param: &Param) -> Result<Stored<'_>> {
        let missing = || Error::weights(&self.path, format!("has no `{}`", param.name));
        let info = self.header.info(&param.name).ok_or_else(missing)?;
        Ok(Stored { file: self, name: param.name.clone(), info })
    }
}

/// The values of a parameter in f32.
pub(crate) enum Values<'a> {
    Here(Vec<f32>),
    Stored(Stored<'a>),
}

impl Values<'_> {
    /// The values of a tensor of any float type.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        Ok(Self::Here(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Here(values) => values.len(),
            Self::Stored(stored) => stored.info.shape.iter().product(),
        }
    }

    pub(crate) fn all(self) -> Result<Vec<f32>> {
        match self {
            Self::Here(values) => Ok(values),
            Self::Stored(stored) => stored.all(),
        }
    }

    /// A range of the values, in the order of the tensor.
    pub(crate) fn range(&self, range: Range<usize>) -> Result<Vec<f32>> {
        match self {
            Self::Here(values) => Ok(values[range].to_vec()),
            Self::Stored(stored) => stored.range(range),
        }
    }
}

/// A tensor in a file, of which only the needed parts are read.
pub(crate) struct Stored<'a> {
    file: &'a WeightsFile,
    name: String,
    info: &'a TensorInfo,
}

impl Stored<'_> {
    fn all(&self) -> Result<Vec<f32>> {
        self.range(0..self.info.shape.iter().product())
    }

    /// As [`Values::range`], widened or narrowed to f32.
    fn range(&self, range: Range<usize>) -> Result<Vec<f32>> {
        let WeightsFile { path, bytes: file, data, .. } = self.file;
        // `check` has ruled out other types.
        let size = match self.info.dtype {
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::F64 => 8,
            _ => 4,
        };
        let first = *data + self.info.data_offsets.0 as u64;
        let (mut start, end) = (first + (range.start * size) as u64, first + (range.end * size) as u64);
        let mut values = Vec::with_capacity(range.len());
        // Bytes are converted while they are in the L1 cache.
        let mut buffer = vec![0; CHUNK.min(range.len() * size)];
        while start < end {
            let bytes = match usize::try_from(end - start) {
                Ok(left) if left < CHUNK => &mut buffer[..left],
                _ => &mut buffer[..],
            };
            file.read_exact_at(bytes, start).map_err(|e| match e.kind() {
                ErrorKind::UnexpectedEof => {
                    Error::weights(path, format!("`{}` has gone: the file was changed in use", self.name))
                }
                _ => Error::io(path)(e),
            })?;
            start += bytes.len() as u64;
            match self.info.dtype {
                Dtype::F16 => values.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
                Dtype::BF16 => values.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
                Dtype::F64 => values.extend(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32)),
                _ => values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            }
        }
        Ok(values)
    }
}

/// The first few of a set of names, and their number.
fn listed(names: BTreeSet<&str>) -> String {
    const SHOWN: usize = 3;
    let first: Vec<&str> = names.iter().copied().take(SHOWN).collect();
    match names.len() {
        0 => "none".into(),
        all if all <= SHOWN => first.join(", "),
        all => format!("{all} ({}, …)", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Normalization;
    use crate::graph::{Builder, Conv};
    use crate::ops::testing::hashed;

    /// A file with a network's parameters, stored in this type.
    fn stored(dtype: DType) -> (tempfile::TempDir, PathBuf, Graph, HashMap<String, Tensor>) {
        let (mut g, image) = Builder::new(3, Normalization::BatchNorm);
        let x = g.conv_bn("conv", image, Conv::dense(5, 3));
        let output = g.resize(x, image, true);
        let graph = g.finish(output).unwrap();
        let value = |param: Param| {
            let value = hashed(&param.name, &param.shape).to_dtype(dtype).unwrap();
            (param.name, value)
        };
        let tensors: HashMap<String, Tensor> = graph.params().into_iter().map(value).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        candle_core::safetensors::save(&tensors, &path).unwrap();
        (dir, path, graph, tensors)
    }

    /// An executor gets f32 from any float, with the value that was stored.
    #[test]
    fn half_precision_is_widened() {
        for dtype in [DType::F16, DType::BF16] {
            let (_dir, path, graph, tensors) = stored(dtype);
            let weights = Weights::File(WeightsFile::open(&path, &graph).unwrap());
            for param in graph.params() {
                let read = weights.tensor(&param, &Device::Cpu).unwrap();
                assert_eq!((read.dtype(), read.dims()), (DType::F32, &param.shape[..]));
                let values =
                    |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
                assert_eq!(values(&read), values(&tensors[&param.name]), "{} in {dtype:?}", param.name);
            }
        }
    }

    #[test]
    fn a_part_is_that_part_of_the_whole() {
        let (_dir, path, graph, _) = stored(DType::BF16);
        let weights = Weights::File(WeightsFile::open(&path, &graph).unwrap());
        for param in graph.params() {
            let values = weights.values(&param).unwrap();
            let (len, whole) = (values.len(), values.range(0..values.len()).unwrap());
            assert_eq!(len, param.shape.iter().product::<usize>());
            for range in [0..1, len / 2..len, len / 3..len / 2] {
                assert_eq!(values.range(range.clone()).unwrap(), whole[range]);
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_short_in_use_is_an_error() {
        let (_dir, path, graph, _) = stored(DType::F32);
        let weights = Weights::File(WeightsFile::open(&path, &graph).unwrap());
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(WeightsFile::open(&path, &graph).unwrap().data).unwrap();
        let said = weights.values(&graph.params()[0]).unwrap().all().unwrap_err().to_string();
        assert!(said.contains("the file was changed in use"), "{said}");
    }

    #[test]
    fn what_is_no_float_is_refused() {
        let (_dir, path, graph, _) = stored(DType::I64);
        let said = WeightsFile::open(&path, &graph).unwrap_err().to_string();
        assert!(said.contains("not a float"), "{said}");
    }
}
