//! Weights in several files with an index, as transformers writes them: `model.safetensors.index.json` or
//! `pytorch_model.bin.index.json`, whose `weight_map` says which file each tensor is in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::file::PlainFile;
use super::reader::{Opened, Reader};
use super::tensor::{Geometry, RawTensor, TensorInfo};
use crate::format::Format;
use crate::shown::in_message;
use crate::{Error, Result};

/// The end of an index's name; its format's file name comes before.
pub(crate) const SUFFIX: &str = ".index.json";
/// A line for each tensor. The index of a thousand tensors has some 100 KB.
const MAX_INDEX: u64 = 4 << 20;
/// More files than anyone makes of a network.
const MAX_SHARDS: usize = 1024;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

struct Shards {
    index: PathBuf,
    readers: Vec<Box<dyn Reader>>,
    /// The number of the reader that has a tensor.
    of: BTreeMap<String, usize>,
}

/// Opens all files that an index names, each with `open`. Returns their paths too.
pub(crate) fn open(
    index: &PlainFile,
    open: impl Fn(&Path) -> Result<(Format, Opened)>,
) -> Result<(Format, Opened, Vec<PathBuf>)> {
    let path = index.path();
    let bad = |what: String| Error::BadIndex { path: path.to_owned(), what };
    let Index { weight_map } =
        serde_json::from_slice(&index.read_all(MAX_INDEX)?).map_err(|e| bad(format!("it is no index: {e}")))?;
    let names: BTreeSet<&str> = weight_map.values().map(String::as_str).collect();
    if names.is_empty() || names.len() > MAX_SHARDS {
        return Err(bad(format!("it names {} files; it must name 1 to {MAX_SHARDS}", names.len())));
    }
    let (mut readers, mut of, mut tensors) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let (mut format, mut decisions, mut files, mut bytes) = (None, Vec::new(), Vec::new(), 0u64);
    for name in names {
        let mut parts = Path::new(name).components();
        // An index must not lead to files outside of its folder.
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(bad(format!("it names `{}`, which is no file beside it", in_message(name))));
        }
        let file = path.with_file_name(name);
        if !file.is_file() {
            return Err(Error::MissingShard { path: file });
        }
        let (found, opened) = open(&file)?;
        if *format.get_or_insert(found) != found {
            return Err(bad("its files are of different formats".into()));
        }
        for (tensor, info) in opened.tensors {
            if weight_map.get(&tensor).map(String::as_str) != Some(name) {
                return Err(bad(format!(
                    "`{}` is in {}, where it does not say so",
                    in_message(&tensor),
                    in_message(name)
                )));
            }
            of.insert(tensor.clone(), readers.len());
            tensors.insert(tensor, info);
        }
        decisions.extend(opened.decisions);
        bytes = bytes.saturating_add(opened.bytes);
        readers.push(opened.reader);
        files.push(file);
    }
    if let Some((tensor, name)) = weight_map.iter().find(|(tensor, _)| !tensors.contains_key(*tensor)) {
        return Err(bad(format!("`{}` should be in {} and is not", in_message(tensor), in_message(name))));
    }
    let reader = Box::new(Shards { index: path.to_owned(), readers, of });
    let opened = Opened { reader, bytes, tensors, geometry: Geometry::default(), decisions };
    Ok((format.unwrap_or(Format::Safetensors), opened, files))
}

impl Shards {
    fn reader(&self, name: &str) -> Result<&dyn Reader> {
        let reader = self.of.get(name).and_then(|&shard| self.readers.get(shard));
        let unknown = || Error::UnknownTensor { path: self.index.clone(), tensor: name.to_owned() };
        reader.map(AsRef::as_ref).ok_or_else(unknown)
    }
}

impl Reader for Shards {
    fn read(&self, name: &str, info: &TensorInfo) -> Result<RawTensor> {
        self.reader(name)?.read(name, info)
    }

    fn check(&self, name: &str, info: &TensorInfo) -> Result<()> {
        self.reader(name)?.check(name, info)
    }
}
