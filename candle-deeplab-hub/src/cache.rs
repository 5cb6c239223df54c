//! The models on this machine: repos in the Hub's cache, and models that were converted here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::Serialize;

use super::entry::{Entry, Location, Source};
use super::hub::{Digest, RepoId, sha256_of};
use super::registry::{self, list};
use super::resolve::{Zoo, absolute, file_of, is_ours};
use super::store::{Manifest, remove_folder, unless_gone};
use super::{Files, Name};
use crate::error::{Error, Result};
use candle_deeplab::config::{CONFIG_FILE, WEIGHTS_FILE};

/// A model, or files of one, on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cached {
    /// `org/name` of a repo, the registry's id of a converted model, or the source of one that has no id.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// How it was converted; `None` for a repo of the Hub.
    pub converted: Option<Manifest>,
    /// The id of the registry's row that this is, or is a source of.
    pub model: Option<&'static str>,
    /// Whether it is used as it is. A model that another revision of the converter made is converted again when needed.
    pub current: bool,
}

/// What [`Zoo::cache_verify`] found out about one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// As in [`Cached`].
    pub name: String,
    /// Number of files that match their digests.
    pub good: usize,
    /// Number of files that cannot be checked, since the server gave no digest.
    pub unknown: usize,
    /// Number of interrupted downloads, which the next download of the same file resumes.
    pub incomplete: usize,
    /// Files that do not match their digests or cannot be read, with the reason.
    pub bad: Vec<String>,
}

impl Zoo {
    /// The models on this machine: repos in our format, repos that the registry or the namespace names, and converted
    /// models. Other repos in the Hub's cache are left out.
    ///
    /// # Errors
    /// [`Error::Library`] where a folder cannot be read.
    pub fn cache_list(&self) -> Result<Vec<Cached>> {
        let mut found = vec![];
        for (repo, path) in self.repos()? {
            let name = repo.to_string();
            let published = |model: &&Entry| {
                let in_repo = |source: &Source| matches!(source.location, Location::Hub { repo, .. } if repo == name);
                self.namespaced(model.id).as_ref() == Some(&name) || model.sources.iter().any(in_repo)
            };
            let model = list().iter().find(published).map(|model| model.id);
            found.push(Cached { name, bytes: size_of(&path)?, path, converted: None, model, current: true });
        }
        for (path, manifest) in self.store().list()? {
            let model = manifest.model.as_deref().and_then(registry::find).map(|model| model.id);
            let name = manifest.model.clone().unwrap_or_else(|| manifest.source.clone());
            let current = manifest.is_current();
            found.push(Cached { name, bytes: size_of(&path)?, path, converted: Some(manifest), model, current });
        }
        Ok(found)
    }

    /// Removes a model from this machine, and returns what was removed. It can be named as
    /// [`cache_list`](Self::cache_list) names it, by its path, by any name that [`resolve`](Self::resolve) knows, or by
    /// the path of the file that it was converted from.
    ///
    /// The name of a registry's row removes the converted model and the namespace's repo. The authors' repo, which
    /// other programs may use, is removed by its own name only. A repo is always removed as a whole.
    ///
    /// # Errors
    /// [`Error::Name`] if no such model is here, or if the name means a part of a repo.
    pub fn cache_remove(&self, name: &str) -> Result<Vec<Cached>> {
        let mut names = BTreeSet::from([name.to_owned()]);
        let mut part_of = None;
        match Name::parse(name, &self.hub().settings().endpoint) {
            Ok(Name::Entry(model)) => {
                names.insert(model.id.into());
                names.extend(self.namespaced(model.id));
                names.extend(model.sources.iter().map(|source| match source.location {
                    Location::Hub { repo, revision, file } => format!("{repo}@{revision}:{file}"),
                    Location::Url { url, .. } => url.to_owned(),
                    Location::Bundled => model.id.to_owned(),
                }));
            }
            Ok(Name::Repo { repo, revision, file: None }) if revision == "main" => drop(names.insert(repo.to_string())),
            Ok(Name::Repo { repo, .. }) => part_of = Some(repo),
            _ => {}
        }
        // Also remove what an interrupted download left.
        for url in names.iter().filter(|name| name.contains("://")) {
            let folder = self.store().download(url);
            if folder.exists() {
                let _lock = self.store().lock_download(url, self.hub().progress())?;
                remove_folder(&folder)?;
            }
        }
        let of_repo = |source: &str| source.split_once('@').is_some_and(|(repo, _)| names.contains(repo));
        let typed = Typed::new(name)?;
        let meant = |cached: &Cached| {
            let source = cached.converted.as_ref().map(|manifest| manifest.source.as_str());
            names.contains(&cached.name)
                || source.is_some_and(|source| names.contains(source) || of_repo(source))
                || typed.is(&cached.path)
                || cached.converted.as_ref().is_some_and(|manifest| typed.became(manifest))
        };
        let meant: Vec<Cached> = self.cache_list()?.into_iter().filter(meant).collect();
        if meant.is_empty() {
            let reason = match part_of {
                Some(repo) => format!("the whole repo would go: say `{repo}`"),
                None => "there is no such model in the cache (`candle-deeplab cache list` lists all)".into(),
            };
            return Err(Error::Name { name: name.into(), reason });
        }
        for cached in &meant {
            each_file(&cached.path, &mut |file| {
                self.store().records().forget(file);
                Ok(())
            })?;
            remove_folder(&cached.path)?;
        }
        Ok(meant)
    }

    /// Reads all models on this machine and compares their files with the digests.
    ///
    /// # Errors
    /// [`Error::Library`] if a folder cannot be read. A file that cannot be read is listed in `bad`.
    pub fn cache_verify(&self) -> Result<Vec<Verified>> {
        self.cache_list()?.into_iter().map(|cached| verify(&cached)).collect()
    }

    fn namespaced(&self, id: &str) -> Option<String> {
        Some(format!("{}/{id}", self.namespace()?))
    }

    /// The repos of DeepLab models in the Hub's cache, with their folders.
    fn repos(&self) -> Result<Vec<(RepoId, PathBuf)>> {
        let cache = &self.hub().settings().cache;
        let entries = match std::fs::read_dir(cache) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(Error::io(cache)(error)),
        };
        let mut known: BTreeSet<String> = list().iter().filter_map(|model| self.namespaced(model.id)).collect();
        for source in list().iter().flat_map(|model| model.sources) {
            if let Location::Hub { repo, .. } = source.location {
                known.insert(repo.into());
            }
        }
        for (_, manifest) in self.store().list()? {
            known.extend(manifest.source.split_once('@').map(|(repo, _)| repo.to_owned()));
        }
        let mut repos = vec![];
        for entry in entries {
            let path = entry.map_err(Error::io(cache))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(repo) = RepoId::of_folder(name) else { continue };
            if known.contains(repo.as_str()) || has_our_recipe(&path) {
                repos.push((repo, path));
            }
        }
        repos.sort();
        Ok(repos)
    }
}

/// What the user typed, taken as a path.
struct Typed {
    path: PathBuf,
    /// With links resolved, if something is there.
    canonical: Option<PathBuf>,
    /// The digest, if it is a file.
    sha256: Option<String>,
}

impl Typed {
    fn new(text: &str) -> Result<Self> {
        let path = absolute(Path::new(text));
        let sha256 = if path.is_file() { Some(sha256_of(&path)?) } else { None };
        Ok(Self { canonical: path.canonicalize().ok(), path, sha256 })
    }

    /// Whether the path leads to this folder.
    fn is(&self, folder: &Path) -> bool {
        self.canonical.is_some() && self.canonical == folder.canonicalize().ok()
    }

    /// Whether a model was converted from this file, whatever its content is now, or from one with the same name and
    /// content.
    fn became(&self, manifest: &Manifest) -> bool {
        let Some(source) = file_of(&manifest.source) else { return false };
        let same_content = self.sha256.as_ref() == Some(&manifest.sha256);
        source == self.path || same_content && source.file_name() == self.path.file_name()
    }
}

fn has_our_recipe(repo: &Path) -> bool {
    let Ok(snapshots) = std::fs::read_dir(repo.join("snapshots")) else { return false };
    snapshots.filter_map(|entry| entry.ok()).any(|entry| is_ours(&entry.path().join(CONFIG_FILE)))
}

/// Calls `with` for each file in a folder and its subfolders; links count as files. Files and folders that another
/// process removes meanwhile are skipped.
fn each_file(folder: &Path, with: &mut impl FnMut(&Path) -> Result<()>) -> Result<()> {
    let Some(entries) = unless_gone(std::fs::read_dir(folder).map_err(Error::io(folder)))? else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(Error::io(folder))?;
        match unless_gone(entry.file_type().map_err(Error::io(folder)))? {
            Some(kind) if kind.is_dir() => each_file(&entry.path(), with)?,
            Some(_) => with(&entry.path())?,
            None => {}
        }
    }
    Ok(())
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    each_file(folder, &mut |path| {
        let metadata = unless_gone(path.symlink_metadata().map_err(Error::io(path)))?;
        bytes += metadata.filter(|metadata| metadata.is_file()).map_or(0, |metadata| metadata.len());
        Ok(())
    })?;
    Ok(bytes)
}

fn verify(cached: &Cached) -> Result<Verified> {
    let mut report = Verified { name: cached.name.clone(), good: 0, unknown: 0, incomplete: 0, bad: vec![] };
    match &cached.converted {
        Some(manifest) => {
            for (name, wanted) in &manifest.files {
                let path = cached.path.join(name);
                let same = sha256_of(&path).map(|found| found == *wanted);
                // Removed as a whole.
                if cached.path.exists() {
                    report.count(&path, same);
                }
            }
        }
        None => each_file(&cached.path, &mut |path| {
            let in_blobs = path.parent().is_some_and(|folder| folder.ends_with("blobs"));
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if in_blobs && name.ends_with(".incomplete") {
                report.incomplete += 1;
            } else if in_blobs {
                match Digest::of_etag(name) {
                    Some(digest) => {
                        if let Some(checked) = unless_gone(digest.check(path)).transpose() {
                            report.count(path, checked.map(|(_, same)| same));
                        }
                    }
                    None => report.unknown += 1,
                }
            } else if path.symlink_metadata().is_ok_and(|link| link.is_symlink()) && !path.exists() {
                report.bad.push(format!("{}: the link leads nowhere", path.display()));
            } else if name == WEIGHTS_FILE
                && let Some(dir) = path.parent().filter(|dir| is_ours(&dir.join(CONFIG_FILE)))
                && let Err(error) = Files::Directory(dir.to_owned()).load(&Device::Cpu)
            {
                // As the repo has it, and no model.
                report.bad.push(error.to_string());
            }
            Ok(())
        })?,
    }
    Ok(report)
}

impl Verified {
    fn count(&mut self, path: &Path, same: Result<bool>) {
        match same {
            Ok(true) => self.good += 1,
            Ok(false) => self.bad.push(format!("{}: its content has changed", path.display())),
            Err(error) => self.bad.push(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vanishes_meanwhile_is_no_error() {
        let cache = tempfile::tempdir().unwrap();
        let folders = ["a", "b", "c"].map(|name| cache.path().join(name));
        for folder in &folders {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("file"), "content").unwrap();
        }
        let mut seen = 0;
        // Whichever folder comes first, the others have been listed by then.
        each_file(cache.path(), &mut |path| {
            seen += 1;
            let others = folders.iter().filter(|folder| !path.starts_with(folder));
            others.for_each(|folder| std::fs::remove_dir_all(folder).unwrap());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 1);
        assert_eq!(size_of(cache.path()).unwrap(), 7);
        assert_eq!(size_of(&cache.path().join("gone")).unwrap(), 0);
    }
}
