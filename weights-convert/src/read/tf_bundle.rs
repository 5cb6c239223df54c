//! TensorFlow V2 checkpoints: an index that tells where each tensor lies in which data file.
//!
//! Everything the index claims is checked when it is opened: the types, the shapes, that the bytes fit them
//! and lie within their files, and that the parts of partitioned variables make up a whole. Source:
//! `tensorflow/core/util/tensor_bundle/tensor_bundle.cc`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use prost::Message;

use super::file::{PlainFile, buffer};
use super::reader::{Opened, Reader};
use super::tensor::{Geometry, RawTensor, TensorInfo, elements};
use super::tf_proto::{BundleEntry, BundleHeader, SliceProto, dtype_and_shape};
use super::tf_shard::{self, ShardRange, Strings};
use super::tf_slices::{self, MAX_SLICES, NotCovered, Slice};
use super::tf_table;
use crate::dtype::DType;
use crate::format::Format;
use crate::{Error, Result};

/// The index of a large checkpoint has some 100 KB.
const MAX_INDEX: u64 = 4 << 20;
/// The version of the format that this reader knows (`kTensorBundleVersion`).
const VERSION: i32 = 1;

struct Bundle {
    index: PathBuf,
    shards: BTreeMap<i32, PlainFile>,
    tensors: BTreeMap<String, Stored>,
}

/// How a tensor is stored.
enum Stored {
    Whole(ShardRange),
    Sliced(Vec<(Slice, ShardRange)>),
}

impl Stored {
    fn ranges(&self) -> Vec<&ShardRange> {
        match self {
            Self::Whole(range) => vec![range],
            Self::Sliced(parts) => parts.iter().map(|(_, range)| range).collect(),
        }
    }
}

/// Opens the checkpoint of which `prefix` is the name: `<prefix>.index` and its data files.
pub(crate) fn open(prefix: &Path) -> Result<Opened> {
    let index = with_suffix(prefix, ".index");
    let file = PlainFile::open(&index)?;
    if file.len() == 0 {
        return Err(Error::Empty { path: index });
    }
    let malformed = |what: String| Error::Malformed { path: index.clone(), format: Format::TfCheckpoint, what };

    let mut plain = Vec::new();
    let mut parts = HashMap::new();
    let mut header = None;
    for (key, value) in tf_table::entries(&index, &file.read_all(MAX_INDEX)?)? {
        if key.is_empty() {
            header = Some(BundleHeader::decode(value).map_err(|e| malformed(format!("its header: {e}")))?);
            continue;
        }
        let name = || String::from_utf8_lossy(&key).into_owned();
        let entry = BundleEntry::decode(value).map_err(|e| malformed(format!("the entry `{}`: {e}", name())))?;
        if key.first() == Some(&0) {
            parts.insert(key, entry);
        } else {
            let name = String::from_utf8(key).map_err(|e| malformed(format!("the name of a tensor: {e}")))?;
            plain.push((name, entry));
        }
    }
    let header = header.ok_or_else(|| malformed("it has no header".into()))?;
    check_header(&index, &header)?;

    let mut opening =
        Opening { prefix, index: &index, num_shards: header.num_shards, shards: BTreeMap::new(), parts: &parts };
    let (mut infos, mut tensors) = (BTreeMap::new(), BTreeMap::new());
    for (name, entry) in plain {
        let (dtype, shape) = dtype_and_shape(&index, &name, entry.dtype, entry.shape.as_ref())?;
        // Everything that is saved was a variable, but for the strings in which TensorFlow 2 notes the
        // object graph.
        let info = TensorInfo { dtype, shape, variable: dtype != DType::Str, quantized: false };
        let stored = opening.stored(&name, &info, &entry)?;
        tensors.insert(name.clone(), stored);
        infos.insert(name, info);
    }
    let shards = opening.shards;
    check_apart(&index, &tensors)?;
    Ok(Opened {
        bytes: shards.values().map(PlainFile::len).fold(0, u64::saturating_add),
        reader: Box::new(Bundle { index, shards, tensors }),
        tensors: infos,
        geometry: Geometry::default(),
        decisions: Vec::new(),
    })
}

/// `model.ckpt` → `model.ckpt.index`.
pub(crate) fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Refuses tensors that share bytes: TensorFlow writes each by itself, and a small index could have a large data file read
/// again and again. What the parts of one tensor share was checked with them.
fn check_apart(index: &Path, tensors: &BTreeMap<String, Stored>) -> Result<()> {
    let ranges = tensors.iter().flat_map(|(name, stored)| stored.ranges().into_iter().map(move |range| (range, name)));
    let mut ranges: Vec<_> = ranges.filter(|(range, _)| range.size > 0).collect();
    ranges.sort_by_key(|(range, _)| (range.shard, range.offset));
    // The range so far that ends last.
    let mut before: Option<(i32, u64, &String)> = None;
    for (range, name) in ranges {
        // The sum is a number: it was checked against the file.
        let end = range.offset.saturating_add(range.size);
        match before {
            Some((shard, last, other)) if shard == range.shard && last > range.offset => {
                if other != name {
                    let what = format!("it shares bytes of data file {shard} with `{other}`");
                    return Err(Error::BadTensor { path: index.to_owned(), tensor: name.clone(), what });
                }
                if end > last {
                    before = Some((shard, end, name));
                }
            }
            _ => before = Some((range.shard, end, name)),
        }
    }
    Ok(())
}

fn check_header(index: &Path, header: &BundleHeader) -> Result<()> {
    let unsupported = |what: &str| Err(Error::Unsupported { path: index.to_owned(), what: what.into() });
    if header.endianness != 0 {
        return unsupported(
            "the checkpoint was written on a big-endian machine, which is not read; \
             load and save it with TensorFlow on a little-endian one",
        );
    }
    if header.version.as_ref().is_some_and(|version| version.min_consumer > VERSION) {
        return unsupported("the checkpoint's format is newer than this program");
    }
    Ok(())
}

/// What is gathered while the entries of an index are checked.
struct Opening<'a> {
    prefix: &'a Path,
    index: &'a Path,
    num_shards: i32,
    shards: BTreeMap<i32, PlainFile>,
    /// Entries for parts of partitioned variables, by their binary keys.
    parts: &'a HashMap<Vec<u8>, BundleEntry>,
}

impl Opening<'_> {
    fn stored(&mut self, name: &str, info: &TensorInfo, entry: &BundleEntry) -> Result<Stored> {
        if entry.slices.is_empty() {
            return self.range(name, info, entry).map(Stored::Whole);
        }
        let (path, tensor) = (|| self.index.to_owned(), || name.to_owned());
        if info.dtype == DType::Str || entry.slices.len() > MAX_SLICES {
            let what = format!("{} in {} parts is not read", info.dtype, entry.slices.len());
            return Err(Error::BadTensor { path: path(), tensor: tensor(), what });
        }
        let slices = (entry.slices.iter())
            .map(|proto| {
                Slice::new(proto, &info.shape).map_err(|what| self.bad_slice(name, &format!("{proto:?}"), what))
            })
            .collect::<Result<Vec<_>>>()?;
        match tf_slices::check_cover(&slices, &info.shape) {
            Err(NotCovered::Overlap(first, second)) => {
                let (first, second) = (first.to_string(), second.to_string());
                return Err(Error::SliceOverlap { path: path(), tensor: tensor(), first, second });
            }
            Err(NotCovered::Gap { covered }) => {
                let elements = elements(&info.shape).unwrap_or(usize::MAX);
                return Err(Error::SliceGap { path: path(), tensor: tensor(), covered, elements });
            }
            Ok(()) => {}
        }

        let mut stored = Vec::new();
        for (slice, proto) in slices.into_iter().zip(&entry.slices) {
            let range = self.part(name, info, &slice, proto)?;
            stored.push((slice, range));
        }
        // Parts may lie on the same bytes, so that a small file could claim a large tensor.
        let size: u64 = stored.iter().map(|(_, range)| range.size).fold(0, u64::saturating_add);
        let limit = self.shards.values().map(PlainFile::len).fold(0, u64::saturating_add);
        if size > limit {
            return Err(Error::TensorTooLarge { path: self.index.to_owned(), tensor: name.to_owned(), size, limit });
        }
        Ok(Stored::Sliced(stored))
    }

    /// Where one part of a partitioned variable lies.
    fn part(&mut self, name: &str, whole: &TensorInfo, slice: &Slice, proto: &SliceProto) -> Result<ShardRange> {
        let entry = self.parts.get(&tf_slices::key(name, proto));
        let entry =
            entry.ok_or_else(|| self.bad_slice(name, &slice.to_string(), "its data is not in the index".into()))?;
        let (dtype, shape) = dtype_and_shape(self.index, name, entry.dtype, entry.shape.as_ref())?;
        if dtype != whole.dtype || shape != slice.length {
            let what = format!("its data is {dtype} {shape:?}, not {} {:?}", whole.dtype, slice.length);
            return Err(self.bad_slice(name, &slice.to_string(), what));
        }
        self.range(name, &TensorInfo { shape, ..whole.clone() }, entry)
    }

    fn bad_slice(&self, tensor: &str, part: &str, what: String) -> Error {
        Error::BadSlice { path: self.index.to_owned(), tensor: tensor.to_owned(), part: part.to_owned(), what }
    }

    /// Where the bytes of an entry lie, checked against its shape and against the file they lie in.
    fn range(&mut self, name: &str, info: &TensorInfo, entry: &BundleEntry) -> Result<ShardRange> {
        let BundleEntry { shard_id, offset, size, crc32c, .. } = *entry;
        let index = self.index;
        let shard = self.shard(name, shard_id)?;

        let out_of_file = || Error::OutOfFile {
            path: shard.path().to_owned(),
            tensor: name.to_owned(),
            offset,
            size,
            file_size: shard.len(),
        };
        let start = u64::try_from(offset).map_err(|_| out_of_file())?;
        let bytes = u64::try_from(size).map_err(|_| out_of_file())?;

        let count = elements(&info.shape).unwrap_or(usize::MAX) as u64;
        let (expected, fits) = match info.dtype.size() {
            Some(element) => {
                let expected = count.saturating_mul(element as u64);
                (expected, expected == bytes)
            }
            // At least a length of one byte for each string, and the checksum of the lengths.
            None => (count.saturating_add(4), count.saturating_add(4) <= bytes),
        };
        if !fits {
            return Err(Error::SizeMismatch {
                path: index.to_owned(),
                tensor: name.to_owned(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                expected,
                found: bytes,
            });
        }
        if start.checked_add(bytes).is_none_or(|end| end > shard.len()) {
            return Err(out_of_file());
        }
        Ok(ShardRange { shard: shard_id, offset: start, size: bytes, stored_crc: crc32c })
    }

    /// The data file of a number, opened when it is first needed.
    fn shard(&mut self, name: &str, id: i32) -> Result<&PlainFile> {
        let num = self.num_shards;
        if !(0..num).contains(&id) {
            let what = format!("it lies in data file {id} of a checkpoint that has {num}");
            return Err(Error::BadTensor { path: self.index.to_owned(), tensor: name.to_owned(), what });
        }
        match self.shards.entry(id) {
            std::collections::btree_map::Entry::Occupied(shard) => Ok(shard.into_mut()),
            std::collections::btree_map::Entry::Vacant(place) => {
                let path = with_suffix(self.prefix, &format!(".data-{id:05}-of-{num:05}"));
                let file = PlainFile::open(&path).map_err(|e| match e {
                    Error::NotFound { path } => Error::MissingShard { path },
                    other => other,
                })?;
                Ok(place.insert(file))
            }
        }
    }
}

impl Bundle {
    fn unknown(&self, name: &str) -> Error {
        Error::UnknownTensor { path: self.index.clone(), tensor: name.to_owned() }
    }

    fn shard(&self, name: &str, range: &ShardRange) -> Result<&PlainFile> {
        self.shards.get(&range.shard).ok_or_else(|| self.unknown(name))
    }

    fn bytes(&self, name: &str, range: &ShardRange) -> Result<Vec<u8>> {
        let file = self.shard(name, range)?;
        let mut data = buffer(file.path(), usize::try_from(range.size).unwrap_or(usize::MAX))?;
        tf_shard::stream_bytes(file, name, range, |bytes| data.extend_from_slice(bytes))?;
        Ok(data)
    }
}

impl Reader for Bundle {
    fn read(&self, name: &str, info: &TensorInfo) -> Result<RawTensor> {
        match self.tensors.get(name).ok_or_else(|| self.unknown(name))? {
            Stored::Whole(range) if info.dtype == DType::Str => {
                let mut strings = Strings::default();
                let count = elements(&info.shape).unwrap_or(usize::MAX);
                tf_shard::stream_strings(self.shard(name, range)?, name, range, count, &mut strings)?;
                Ok(RawTensor::of_strings(info.shape.clone(), strings.data, strings.ends))
            }
            Stored::Whole(range) => Ok(RawTensor::new(info, self.bytes(name, range)?)),
            Stored::Sliced(parts) => {
                let element = info.dtype.size().unwrap_or(1);
                // Both were checked when the index was opened.
                let size = elements(&info.shape).and_then(|n| n.checked_mul(element)).unwrap_or(usize::MAX);
                let mut whole = buffer(&self.index, size)?;
                whole.resize(size, 0);
                for (slice, range) in parts {
                    let part = self.bytes(name, range)?;
                    slice.copy(&part, &info.shape, element, &mut whole).ok_or_else(|| self.unknown(name))?;
                }
                Ok(RawTensor::new(info, whole))
            }
        }
    }

    fn check(&self, name: &str, info: &TensorInfo) -> Result<()> {
        match self.tensors.get(name).ok_or_else(|| self.unknown(name))? {
            Stored::Whole(range) if info.dtype == DType::Str => {
                let count = elements(&info.shape).unwrap_or(usize::MAX);
                tf_shard::stream_strings(self.shard(name, range)?, name, range, count, &mut ())
            }
            Stored::Whole(range) => tf_shard::stream_bytes(self.shard(name, range)?, name, range, |_| ()),
            Stored::Sliced(parts) => parts
                .iter()
                .try_for_each(|(_, range)| tf_shard::stream_bytes(self.shard(name, range)?, name, range, |_| ())),
        }
    }
}
