//! A file of weights of any format.

use std::fmt;
use std::path::{Path, PathBuf};

use super::file::PlainFile;
use super::locate::{self, HUB_CONFIG_FILE, Located};
use super::reader::Opened;
use super::tensor::{Geometry, RawTensor, TensorInfo};
use super::{safetensors, shards, tf_bundle, tf_graphdef, tflite, torch_legacy, torch_zip};
use crate::decision::Decision;
use crate::error::{Error, Result};
use crate::format::Format;

/// A file of weights, opened: its tensors are listed, and are read one at a time.
pub struct Checkpoint {
    path: PathBuf,
    folder: Option<PathBuf>,
    /// The files that the index at `path` names.
    shards: Vec<PathBuf>,
    format: Format,
    opened: Opened,
}

/// Opens a file whose format is known.
fn open_file(file: PlainFile, format: Format, state: Option<&str>) -> Result<Opened> {
    match format {
        Format::TfCheckpoint => tf_bundle::open(file.path()),
        Format::TfGraphDef => tf_graphdef::open(&file),
        Format::TfLite => tflite::open(&file),
        Format::Safetensors => safetensors::open(file),
        Format::TorchZip => torch_zip::open(file, state),
        Format::TorchLegacy => torch_legacy::open(file, state),
    }
}

impl Checkpoint {
    /// Opens a file of weights. The content tells the format; the name does not.
    ///
    /// `path` is a TFLite, safetensors, PyTorch or frozen graph file; or a TensorFlow checkpoint by its prefix
    /// (`model.ckpt-30000`), its `.index` or one of its data files; or the index of several files (`….index.json`); or
    /// a folder, in which case it is the checkpoint that the `checkpoint` file in it names, or else, beside a
    /// `config.json`, what the Hub calls the weights (`model.safetensors`, `pytorch_model.bin`), or else the only
    /// checkpoint, or else the only other file of weights.
    ///
    /// # Errors
    /// When there is no such file, several could be meant, or the file is not sound. Everything but the
    /// tensors' bytes is checked: see [`Checkpoint::check`] for those.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_state(path, None)
    }

    /// Opens a file of weights as [`open`](Self::open) does. Its network is described by `config.json` and
    /// `preprocessor_config.json` in `folder`, whatever other weights are in there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_beside(file: &Path, folder: &Path) -> Result<Self> {
        Ok(Self { folder: Some(folder.to_owned()), ..Self::open(file)? })
    }

    /// Opens a file of weights as [`open`](Self::open) does. Of a PyTorch file with several states, such as `model` and
    /// `model_ema`, it takes the one called `state`.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Error::NoSuchState`].
    pub fn open_state(path: &Path, state: Option<&str>) -> Result<Self> {
        let folder = path.is_dir().then(|| path.to_owned());
        let (path, format, opened, shards) = match locate::locate(path)? {
            Located::Checkpoint(prefix) => {
                let opened = tf_bundle::open(&prefix)?;
                (prefix, Format::TfCheckpoint, opened, Vec::new())
            }
            Located::File(file, format) => {
                let path = file.path().to_owned();
                (path, format, open_file(file, format, state)?, Vec::new())
            }
            Located::Index(index) => {
                let part = |path: &Path| match locate::locate(path)? {
                    Located::File(file, format) if matches!(format, Format::Safetensors | Format::TorchZip) => {
                        Ok((format, open_file(file, format, None)?))
                    }
                    _ => Err(Error::UnknownFormat { path: path.to_owned() }),
                };
                let (format, opened, shards) = shards::open(&index, part)?;
                (index.path().to_owned(), format, opened, shards)
            }
        };
        let chosen = matches!(format, Format::TorchZip | Format::TorchLegacy) && shards.is_empty();
        if let Some(state) = state.filter(|_| !chosen) {
            return Err(Error::NoSuchState { path, state: state.to_owned(), states: Vec::new() });
        }
        Ok(Self { path, folder, shards, format, opened })
    }

    /// The file that was opened; of a TensorFlow checkpoint, its prefix.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that was opened, or that was given beside the file.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The files that are read, and `config.json` of the folder that was given: none may be written over.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let config = self.folder().map(|folder| folder.join(HUB_CONFIG_FILE));
        std::iter::once(self.path.clone()).chain(self.shards.iter().cloned()).chain(config)
    }

    /// The format, as the content tells it.
    pub fn format(&self) -> Format {
        self.format
    }

    /// All tensors, in the order of their names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.opened.tensors.iter().map(|(name, info)| (name.as_str(), info))
    }

    /// What the file says of one tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.opened.tensors.get(name)
    }

    /// Whether there is a tensor whose name begins with `prefix`.
    pub fn has_under(&self, prefix: &str) -> bool {
        let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        self.opened.tensors.range::<str, _>(from).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// Reads one tensor. In a TensorFlow checkpoint, its checksum is verified.
    ///
    /// # Errors
    /// When there is none of that name, its bytes are damaged, or they cannot be read.
    pub fn read(&self, name: &str) -> Result<RawTensor> {
        let unknown = || Error::UnknownTensor { path: self.path.clone(), tensor: name.to_owned() };
        self.opened.reader.read(name, self.info(name).ok_or_else(unknown)?)
    }

    /// Reads through all tensors with a small buffer and verifies the checksums that the format has.
    ///
    /// # Errors
    /// For the first tensor that is damaged or cannot be read.
    pub fn check(&self) -> Result<()> {
        self.tensors().try_for_each(|(name, info)| self.opened.reader.check(name, info))
    }

    /// The bytes of the files that tensors are read from.
    pub(crate) fn bytes(&self) -> u64 {
        self.opened.bytes
    }

    /// What was decided about which of the file's values are the tensors: of a PyTorch file, the wrapper that
    /// they were taken out of and the prefix that was taken off their names. Empty for other formats.
    pub fn decisions(&self) -> &[Decision] {
        &self.opened.decisions
    }

    /// What the file's graph tells beyond its tensors; empty for files that hold tensors only.
    pub fn geometry(&self) -> &Geometry {
        &self.opened.geometry
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("path", &self.path)
            .field("format", &self.format)
            .field("tensors", &self.opened.tensors.len())
            .finish_non_exhaustive()
    }
}
