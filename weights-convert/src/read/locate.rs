//! Finds the file that a path means, and its format.

use std::path::{Component, Path, PathBuf};

use super::file::{PlainFile, read_small};
use super::tf_bundle::with_suffix;
use super::{safetensors, shards, tf_graphdef, tf_table, tflite, torch_zip};
use crate::format::Format;
use crate::{Error, Result};

/// Enough to tell every format; the magic of tar is at byte 257.
const HEAD: usize = 512;
/// A state file names a handful of checkpoints.
const MAX_STATE: u64 = 1 << 20;
/// The state file that TensorFlow keeps beside checkpoints.
const STATE: &str = "checkpoint";

/// The file in which transformers describes a network. A recipe of ours has the same name.
pub(crate) const HUB_CONFIG_FILE: &str = "config.json";
/// What transformers calls the weights beside a `config.json`, in the order in which it looks for them.
const HUB: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// What a path means.
pub(crate) enum Located {
    /// The prefix of a V2 checkpoint.
    Checkpoint(PathBuf),
    /// A file of one of the other formats.
    File(PlainFile, Format),
    /// The index of several files.
    Index(PlainFile),
}

/// Finds out what `path` means.
pub(crate) fn locate(path: &Path) -> Result<Located> {
    if path.is_dir() {
        return in_folder(path);
    }
    if let Some(prefix) = prefix_of_shard(path) {
        if !with_suffix(&prefix, ".index").exists() {
            return Err(Error::MissingIndex { path: path.to_owned() });
        }
        return Ok(Located::Checkpoint(prefix));
    }
    if !path.exists() && with_suffix(path, ".index").exists() {
        return Ok(Located::Checkpoint(path.to_owned()));
    }
    sniff(PlainFile::open(path)?)
}

/// `model.ckpt.data-00000-of-00001` → `model.ckpt`.
fn prefix_of_shard(path: &Path) -> Option<PathBuf> {
    let (stem, numbers) = path.file_name()?.to_str()?.rsplit_once(".data-")?;
    let (number, count) = numbers.split_once("-of-")?;
    let digits = |s: &str| s.len() >= 5 && s.bytes().all(|b| b.is_ascii_digit());
    (digits(number) && digits(count)).then(|| path.with_file_name(stem))
}

/// Tells the format of a file by its content.
fn sniff(file: PlainFile) -> Result<Located> {
    let path = file.path().to_owned();
    if file.len() == 0 {
        return Err(Error::Empty { path });
    }
    let head = file.head(HEAD)?;
    let ends_in = |extension: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension));

    let named = |suffix: &str| path.file_name().is_some_and(|n| n.as_encoded_bytes().ends_with(suffix.as_bytes()));
    if named(shards::SUFFIX) && head.trim_ascii_start().starts_with(b"{") {
        return Ok(Located::Index(file));
    }
    // An index is also recognised by its name, so that a truncated one is reported as damaged.
    if tf_table::is_table(&file.tail(8)?) || ends_in("index") {
        if !ends_in("index") {
            return Err(Error::Foreign {
                path,
                kind: "a TensorFlow V1 checkpoint, or an .index file under another name",
                way_out: "load and save it with TensorFlow (V2 format), or give it back its name",
            });
        }
        return Ok(Located::Checkpoint(path.with_extension("")));
    }
    if head.get(4..8) == Some(tflite::MAGIC) {
        return Ok(Located::File(file, Format::TfLite));
    }
    if safetensors::is_safetensors(&head) || ends_in("safetensors") && head.get(8) == Some(&b'{') {
        return Ok(Located::File(file, Format::Safetensors));
    }
    if head.starts_with(torch_zip::MAGIC) {
        return Ok(Located::File(file, Format::TorchZip));
    }
    // PROTO, which begins every pickle that PyTorch writes.
    if let [0x80, 2..=5, ..] = head[..] {
        return Ok(Located::File(file, Format::TorchLegacy));
    }
    if let Some(error) = foreign(&path, &head) {
        return Err(error);
    }
    if tf_graphdef::is_graph(&head) {
        return Ok(Located::File(file, Format::TfGraphDef));
    }
    Err(Error::UnknownFormat { path })
}

/// The error for a file that people commonly have in place of weights.
fn foreign(path: &Path, head: &[u8]) -> Option<Error> {
    let archive = |kind| Some(Error::Archive { path: path.to_owned(), kind });
    let foreign = |kind, way_out| Some(Error::Foreign { path: path.to_owned(), kind, way_out });

    let text = head.trim_ascii_start().to_ascii_lowercase();
    match head {
        [0x1f, 0x8b, ..] => archive("gzip"),
        _ if head.get(257..262) == Some(b"ustar") => archive("tar"),
        _ if head.starts_with(b"BZh") => archive("bzip2"),
        _ if head.starts_with(b"\xfd7zXZ\0") => archive("xz"),
        _ if head.starts_with(b"\x89HDF\r\n\x1a\n") => {
            foreign("an HDF5 file, as Keras writes them", "these are not read; save the weights as safetensors")
        }
        _ if [&b"<!doctype"[..], b"<html", b"<?xml"].iter().any(|tag| text.starts_with(tag)) => {
            foreign("a web page, not weights", "the download went wrong; fetch the file again")
        }
        // saved_model_schema_version: 1, then meta_graphs
        [0x08, 0x01, 0x12, ..] => {
            foreign("a TensorFlow SavedModel", "give its checkpoint, `variables/variables` in the same folder")
        }
        _ => None,
    }
}

/// The weights in a folder, where only one file or checkpoint can be meant.
fn in_folder(folder: &Path) -> Result<Located> {
    let state = folder.join(STATE);
    if state.is_file() {
        return Ok(Located::Checkpoint(folder.join(checkpoint_of_state(&state)?)));
    }
    let hub = || HUB.into_iter().map(|name| folder.join(name)).find(|path| path.is_file());
    if let Some(weights) = hub().filter(|_| folder.join(HUB_CONFIG_FILE).is_file()) {
        return sniff(PlainFile::open(&weights)?);
    }
    let io = |source| Error::Io { path: folder.to_owned(), action: "list it", source };
    let (mut indices, mut others) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        // Hidden files are no weights: `._model.ckpt.index` is what a Mac adds to an archive.
        if !path.is_file() || path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        match path.extension().and_then(|e| e.to_str()) {
            Some("index") => indices.push(path),
            Some("pb" | "tflite" | "safetensors" | "pth" | "pt") => others.push(path),
            // What jfzhang95 and others call a file of `torch.save`, which is no tar archive.
            Some("tar") if path.file_stem().is_some_and(|s| s.as_encoded_bytes().ends_with(b".pth")) => {
                others.push(path);
            }
            _ => {}
        }
    }
    // A checkpoint beside a frozen graph is what the graph was made from, and holds more.
    let mut candidates = if indices.is_empty() { others } else { indices };
    candidates.sort();
    match &candidates[..] {
        [] => Err(Error::NoWeights { path: folder.to_owned() }),
        [only] => sniff(PlainFile::open(only)?),
        several => {
            let name = |p: &PathBuf| p.file_name().map(|name| name.to_string_lossy().into_owned());
            let candidates = several.iter().filter_map(name).collect();
            Err(Error::Ambiguous { path: folder.to_owned(), candidates })
        }
    }
}

/// The checkpoint that a state file (a text protobuf) names, a path within its folder.
fn checkpoint_of_state(state: &Path) -> Result<PathBuf> {
    let bad = |what: String| Error::CheckpointState { path: state.to_owned(), what };
    let bytes = read_small(state, MAX_STATE)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| bad("it is not a text".into()))?;
    let quoted = text.lines().find_map(|line| line.trim().strip_prefix("model_checkpoint_path:")).map(str::trim);
    let named = quoted.and_then(|s| s.strip_prefix('"')?.strip_suffix('"'));
    let named = named.filter(|name| !name.is_empty() && !name.contains(['\\', '"']));
    let named = PathBuf::from(named.ok_or_else(|| bad("it names no model_checkpoint_path".into()))?);
    // A downloaded folder must not lead to files outside of it.
    if !named.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(bad(format!("it names {}, which is not within its folder", named.display())));
    }
    Ok(named)
}
