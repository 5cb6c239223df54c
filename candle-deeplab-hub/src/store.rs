//! The store of converted models, beside the Hub's cache: a folder for each, with a manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Hints};
use super::hub::{
    Digest, Here, Lock, Progress, Records, make_folder_of, sha256, sha256_of, unwritable_at, with_suffix,
};
use crate::error::{Error, Result};
use candle_deeplab::config::{CONFIG_FILE, WEIGHTS_FILE};

/// The file name of a converted model's manifest.
const MANIFEST_FILE: &str = "manifest.json";
/// More than the size of any manifest.
const MAX_MANIFEST_BYTES: u64 = 1 << 16;

/// What a converted model was made from, and by which converter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The model's id in the registry, if it has one.
    pub model: Option<String>,
    /// The origin of its file: an address, `org/name@revision:file`, or a path.
    pub source: String,
    /// The SHA-256 of that file.
    pub sha256: String,
    /// The SHA-256 of each file beside it that describes the model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, String>,
    /// Program and version that converted it.
    pub converter: String,
    /// [`weights_convert::REVISION`] of that program.
    pub revision: u32,
    /// The SHA-256 of each file of the converted model.
    pub files: BTreeMap<String, String>,
}

impl Manifest {
    /// Whether today's converter would give the same result.
    pub(super) fn is_current(&self) -> bool {
        self.revision == weights_convert::REVISION
    }
}

/// The folder of converted models.
#[derive(Debug, Clone)]
pub(super) struct Store {
    root: PathBuf,
    records: Records,
}

/// The place of a source in the store.
#[derive(Debug, Clone)]
pub(super) struct Key {
    folder: String,
    pub(super) source: String,
}

impl Key {
    /// `name` makes the folder readable; the source and the hints make it unique.
    pub(super) fn new(name: &str, source: String, hints: &Hints) -> Self {
        let harmless = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
        let name: String = name.chars().map(harmless).take(80).collect();
        let digest = sha256(format!("{source}\n{hints:?}").as_bytes());
        Self { folder: format!("{}-{}", name.trim_matches('.'), &digest[..12]), source }
    }
}

/// The content that is converted: the digests of the file and of those beside it.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) sha256: String,
    pub(super) beside: BTreeMap<String, String>,
}

/// What is known about a conversion before it starts.
pub(super) struct About<'a> {
    pub(super) entry: Option<&'static Entry>,
    /// The content to convert, if it is on this machine already.
    pub(super) content: Option<&'a Content>,
}

impl Store {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { records: Records::new(&root), root }
    }

    /// The folder of a download that is to be converted. Whoever uses it holds [`Store::lock_download`].
    pub(super) fn download(&self, url: &str) -> PathBuf {
        self.root.join("downloads").join(&sha256(url.as_bytes())[..16])
    }

    pub(super) fn lock_download(&self, url: &str, progress: &Progress) -> Result<Lock> {
        Lock::acquire(&with_suffix(&self.download(url), ".lock"), url, progress)
    }

    /// The converted model of a source, if it is there and as the converter would make it, of this content where
    /// that is known, and as it was made.
    pub(super) fn find(&self, key: &Key, content: Option<&Content>) -> Result<Option<PathBuf>> {
        match self.look(key, content)? {
            Here::Good(folder) => Ok(Some(folder)),
            Here::Nothing | Here::Damaged(_) => Ok(None),
        }
    }

    fn look(&self, key: &Key, content: Option<&Content>) -> Result<Here> {
        let folder = self.root.join("models").join(&key.folder);
        let current = |manifest: &Manifest| {
            manifest.is_current()
                && content.is_none_or(|it| it.sha256 == manifest.sha256 && it.beside == manifest.beside)
        };
        let Some(manifest) = manifest(&folder)?.filter(current) else { return Ok(Here::Nothing) };
        for name in [CONFIG_FILE, WEIGHTS_FILE] {
            let path = folder.join(name);
            let digest = manifest.files.get(name).filter(|_| path.is_file()).map(|sha| Digest::Sha256(sha.clone()));
            let Some(digest) = digest else { return Ok(Here::Nothing) };
            if let Some(damage) = self.records.check(&path, &digest)? {
                return Ok(Here::Damaged(damage));
            }
        }
        Ok(Here::Good(folder))
    }

    /// The records of what was compared with its digest.
    pub(super) fn records(&self) -> &Records {
        &self.records
    }

    /// Converts a source, unless another process did so while this one waited for the lock.
    ///
    /// `convert` gets a folder to work in and one for the model, and returns what it converted.
    pub(super) fn convert(
        &self,
        key: &Key,
        about: &About,
        progress: &Progress,
        convert: impl FnOnce(&Path, &Path) -> Result<Content>,
    ) -> Result<PathBuf> {
        let About { entry, content } = *about;
        let folder = self.root.join("models").join(&key.folder);
        make_folder_of(&folder)?;
        let _lock = Lock::acquire(&with_suffix(&folder, ".lock"), &key.source, progress)?;
        let damage = match self.look(key, content)? {
            Here::Good(there) => return Ok(there),
            Here::Nothing => None,
            Here::Damaged(damage) => {
                damage.tell(progress);
                Some(damage)
            }
        };
        // Under the lock nobody else works in these; what is there was left by somebody who was interrupted.
        let [work, out] = [".work", ".incomplete"].map(|suffix| with_suffix(&folder, suffix));
        for folder in [&work, &out] {
            remove_folder(folder)?;
            std::fs::create_dir(folder).map_err(unwritable_at(folder))?;
        }
        let converted = convert(&work, &out).and_then(|Content { sha256, beside }| {
            let manifest = Manifest {
                model: entry.map(|entry| entry.id.to_owned()),
                source: key.source.clone(),
                sha256,
                beside,
                converter: weights_convert::CONVERTER.into(),
                revision: weights_convert::REVISION,
                files: digests(&out)?,
            };
            let text = serde_json::to_string_pretty(&manifest).map_err(|e| Error::io(&out)(e.into()))?;
            candle_deeplab::atomic::write(out.join(MANIFEST_FILE), |file| writeln!(file, "{text}"))?;
            remove_folder(&folder)?;
            std::fs::rename(&out, &folder).map_err(|error| unwritable_at(&folder)(error))
        });
        // Clean up in any case, but report the conversion's error first.
        let cleaned = [&work, &out].map(|folder| remove_folder(folder));
        converted.map_err(|error| match (error, damage) {
            (Error::Offline { .. }, Some(damage)) => damage.offline(),
            (error, _) => error,
        })?;
        cleaned.into_iter().collect::<Result<()>>()?;
        Ok(folder)
    }

    /// All converted models.
    pub(super) fn list(&self) -> Result<Vec<(PathBuf, Manifest)>> {
        let folder = self.root.join("models");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(Error::io(&folder)(error)),
        };
        let mut found = vec![];
        for entry in entries {
            let path = entry.map_err(Error::io(&folder))?.path();
            let finished = path.extension().is_none_or(|suffix| suffix != "work" && suffix != "incomplete");
            if let Some(manifest) = manifest(&path)?.filter(|_| finished) {
                found.push((path, manifest));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }
}

/// The manifest of a converted model; `None` if there is none or it is damaged.
fn manifest(folder: &Path) -> Result<Option<Manifest>> {
    let path = folder.join(MANIFEST_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let text = unless_gone(candle_deeplab::file::read_text(&path, MAX_MANIFEST_BYTES).map_err(Error::from))?
        .flatten()
        .unwrap_or_default();
    Ok(serde_json::from_str(&text).ok())
}

/// The digests of the files in a folder, which must be a model directory.
fn digests(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut names: BTreeSet<String> = [CONFIG_FILE, WEIGHTS_FILE].map(String::from).into();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        names.insert(entry.map_err(Error::io(folder))?.file_name().to_string_lossy().into_owned());
    }
    names.into_iter().map(|name| Ok((name.clone(), sha256_of(&folder.join(name))?))).collect()
}

/// `None` if another process has removed the file or folder meanwhile.
pub(super) fn unless_gone<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(Error::Library(candle_deeplab::Error::Io { source, .. }))
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        other => other.map(Some),
    }
}

pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unwritable_at(folder)(error)),
        _ => Ok(()),
    }
}
