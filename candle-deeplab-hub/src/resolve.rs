//! Finds a name's model: first in the cache, then in the namespace on the Hub, then at its sources in order.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use candle_core::Device;

use super::convert::Foreign;
use super::entry::{Entry, Hints, Location};
use super::hub::{Digest, Event, Hub, Progress, RepoId, Settings, sha256_of, unwritable_at};
use super::store::{About, Content, Key, Store};
use super::{Files, Name, archive};
use crate::error::{Error, Result};
use candle_deeplab::DeepLab;
use candle_deeplab::config::MAX_CONFIG_BYTES;
use candle_deeplab::config::{CONFIG_FILE, WEIGHTS_FILE};

/// Files of weights that a repo in another program's format may have, the first choice first.
const FOREIGN_FILES: [&str; 2] = [WEIGHTS_FILE, "pytorch_model.bin"];

/// Files beside these weights that describe the model. Without the first one, the second is not looked for.
const BESIDE_FILES: [&str; 2] = [CONFIG_FILE, "preprocessor_config.json"];

/// Finds models by name, and downloads and converts those that are not on this machine.
///
/// ```no_run
/// use candle_core::Device;
/// use candle_deeplab_hub::Zoo;
///
/// let zoo = Zoo::from_env()?;
/// let model = zoo.load("some-org/deeplabv3plus-xception65-voc", &Device::Cpu)?;
/// # Ok::<(), candle_deeplab_hub::Error>(())
/// ```
pub struct Zoo {
    hub: Hub,
    namespace: Option<String>,
    store: Store,
}

/// Where a model is, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Its files.
    pub files: Files,
    /// Its row of the registry, if the name was one of the registry.
    pub model: Option<&'static Entry>,
    /// Its origin: an address, `org/name@revision`, or a path.
    pub source: String,
    /// Whether nothing had to be downloaded or converted.
    pub cached: bool,
}

/// A place where a model may be found.
enum Place {
    /// A repo in our format.
    Ours { repo: RepoId, revision: String },
    /// A file that has to be converted.
    Foreign { from: ForeignFile, hints: Hints, name: String },
    /// The model that is part of this crate.
    Bundled,
}

/// Where a file in another format is.
enum ForeignFile {
    Hub { repo: RepoId, revision: String, file: String },
    Url { url: String, member: Option<String>, digest: Option<Digest> },
    File(PathBuf),
}

impl Zoo {
    /// A zoo with the environment's settings: see [`Settings::from_env`].
    ///
    /// # Errors
    /// [`Error::Setting`] with the variable that is not valid.
    pub fn from_env() -> Result<Self> {
        Self::new(Settings::from_env()?)
    }

    /// A zoo with these settings.
    ///
    /// # Errors
    /// Those of [`from_env`](Self::from_env).
    pub fn new(settings: Settings) -> Result<Self> {
        let (namespace, store) = (settings.namespace.clone(), Store::new(settings.models.clone()));
        Ok(Self { hub: Hub::new(settings)?, namespace, store })
    }

    /// Prefers this user's or organisation's repos on the Hub (`namespace/id`) to the authors' files.
    pub fn with_namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..self }
    }

    /// Reports what is going on to `progress`.
    pub fn with_progress(self, progress: Progress) -> Self {
        Self { hub: self.hub.with_progress(progress), ..self }
    }

    /// The Hub's client.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Loads a model by any of its names.
    ///
    /// # Errors
    /// Those of [`resolve`](Self::resolve) and [`DeepLab::load`].
    pub fn load(&self, name: &str, device: &Device) -> Result<DeepLab> {
        self.resolve(name)?.files.load(device)
    }

    /// Loads a model of the registry.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_model(&self, model: &'static Entry, device: &Device) -> Result<DeepLab> {
        let found = match self.find_model(model)? {
            Some(found) => found,
            None => self.pull_named(&Name::Entry(model))?,
        };
        found.files.load(device)
    }

    /// The model directory of a name. The model is downloaded and converted if it is not on this machine; if it is, the
    /// network is not used.
    ///
    /// # Errors
    /// [`Error::Name`] for what is no name; [`Error::NoSource`] with what each of several sources said; otherwise as
    /// [`Hub::file`], as [`DeepLab::load`] for what was fetched and is no model, and [`Error::Archive`] and [`Error::Convert`]
    /// on the way of a foreign file.
    pub fn resolve(&self, name: &str) -> Result<Resolved> {
        match self.find(name)? {
            Some(found) => Ok(found),
            None => self.pull(name),
        }
    }

    /// The model directory of a name, if nothing has to be downloaded or converted.
    ///
    /// # Errors
    /// [`Error::Name`] for a name that no model can have.
    pub fn find(&self, name: &str) -> Result<Option<Resolved>> {
        let name = Name::parse(name, &self.hub.settings().endpoint)?;
        match own_directory(&name)? {
            Some(dir) => Ok(Some(local(dir))),
            None => self.find_named(&name),
        }
    }

    /// The files of a model of the registry, if nothing has to be downloaded or converted.
    ///
    /// # Errors
    /// Those of [`find`](Self::find).
    pub fn find_model(&self, model: &'static Entry) -> Result<Option<Resolved>> {
        self.find_named(&Name::Entry(model))
    }

    fn find_named(&self, name: &Name) -> Result<Option<Resolved>> {
        for place in self.places(name)? {
            if let Some(files) = self.find_at(&place)? {
                return Ok(Some(resolved(name, &place, files, true)));
            }
        }
        Ok(None)
    }

    /// As [`resolve`](Self::resolve), but asks the Hub whether a branch has changed.
    ///
    /// # Errors
    /// Those of [`resolve`](Self::resolve).
    pub fn pull(&self, name: &str) -> Result<Resolved> {
        let name = Name::parse(name, &self.hub.settings().endpoint)?;
        match own_directory(&name)? {
            Some(dir) => Ok(local(dir)),
            None => self.pull_named(&name),
        }
    }

    fn pull_named(&self, name: &Name) -> Result<Resolved> {
        let mut tried = vec![];
        for place in self.places(name)? {
            match self.fetch(name, &place) {
                Ok(files) => return Ok(resolved(name, &place, files, false)),
                Err(error @ Error::Library(_)) => return Err(error),
                Err(error) => tried.push(error),
            }
        }
        let error = match (name, tried.pop()) {
            (Name::Entry(model), Some(last)) if !tried.is_empty() => {
                tried.push(last);
                Error::NoSource { model: model.id.into(), tried }
            }
            (_, Some(only)) => only,
            (_, None) => Error::NoSource { model: String::new(), tried },
        };
        Err(error)
    }

    /// The places where a name's model may be, the first choice first.
    fn places(&self, name: &Name) -> Result<Vec<Place>> {
        let foreign = |from, name: &str| Place::Foreign { from, hints: Hints::NONE, name: name.into() };
        Ok(match name {
            Name::Entry(model) => {
                let mut places = vec![];
                // The bundled model is not looked for in the namespace.
                let at_hand = model.sources.iter().any(|source| source.location == Location::Bundled);
                if let (Some(namespace), false) = (&self.namespace, at_hand) {
                    let repo = RepoId::new(&format!("{namespace}/{}", model.id))?;
                    places.push(Place::Ours { repo, revision: "main".into() });
                }
                for source in model.sources {
                    let from = match source.location {
                        Location::Bundled => {
                            places.push(Place::Bundled);
                            continue;
                        }
                        Location::Hub { repo, revision, file } => {
                            ForeignFile::Hub { repo: RepoId::new(repo)?, revision: revision.into(), file: file.into() }
                        }
                        Location::Url { url, member, sha256 } => ForeignFile::Url {
                            url: url.into(),
                            member: member.map(str::to_owned),
                            digest: sha256.map(|prefix| Digest::Sha256(prefix.into())),
                        },
                    };
                    places.push(Place::Foreign { from, hints: source.hints, name: model.id.into() });
                }
                places
            }
            Name::Repo { repo, revision, file } => {
                let (repo, revision) = (repo.clone(), revision.clone());
                match file {
                    Some(file) => {
                        let name = repo.as_str().to_owned();
                        vec![foreign(ForeignFile::Hub { repo, revision, file: file.clone() }, &name)]
                    }
                    None => vec![Place::Ours { repo, revision }],
                }
            }
            Name::Url(url) => {
                let name = url.rsplit('/').next().unwrap_or(url);
                vec![foreign(ForeignFile::Url { url: url.clone(), member: None, digest: None }, name)]
            }
            Name::Path(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                vec![foreign(ForeignFile::File(path.clone()), &name)]
            }
        })
    }

    fn find_at(&self, place: &Place) -> Result<Option<Files>> {
        match place {
            Place::Bundled => Ok(Some(Files::Bundled)),
            Place::Ours { repo, revision } => {
                // In this order: weights of ours only are compared with their digest.
                if let Some(config) = self.hub.cached(repo, revision, CONFIG_FILE)?.filter(|config| is_ours(config))
                    && self.hub.cached(repo, revision, WEIGHTS_FILE)?.is_some()
                {
                    return Ok(config.parent().map(directory));
                }
                for file in FOREIGN_FILES {
                    if let Some(files) = self.find_at(&foreign_in(repo, revision, file))? {
                        return Ok(Some(files));
                    }
                }
                Ok(None)
            }
            Place::Foreign { from, hints, name } => {
                let dir = self.store.find(&key(from, hints, name)?, None)?;
                Ok(dir.map(Files::Directory))
            }
        }
    }

    fn fetch(&self, name: &Name, place: &Place) -> Result<Files> {
        let dir = match place {
            Place::Bundled => return Ok(Files::Bundled),
            Place::Ours { repo, revision } => return self.fetch_ours(name, repo, revision),
            Place::Foreign { from, hints, name: label } => {
                let model = if let Name::Entry(model) = name { Some(*model) } else { None };
                self.fetch_foreign(from, hints, label, model)?
            }
        };
        Ok(Files::Directory(dir))
    }

    fn fetch_ours(&self, name: &Name, repo: &RepoId, revision: &str) -> Result<Files> {
        let ours = match self.hub.fetch(repo, revision, CONFIG_FILE) {
            Ok(config) if is_ours(&config.path) => Some(config),
            Ok(_) => None,
            // The repo exists but has no recipe: it may have weights in another format.
            Err(Error::NoSuchFile { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(config) = ours {
            // From the same commit, even if the branch moves meanwhile.
            self.hub.fetch(repo, &config.commit, WEIGHTS_FILE)?;
            let files = config.path.parent().map(directory).unwrap_or(Files::Directory(PathBuf::new()));
            // A digest says that these are the files of the repo, not that they are a model: a web page has one, too. On the
            // CPU this reads no more than the recipe and the names of the weights.
            files.load(&Device::Cpu)?;
            self.hub.moved(repo, revision, &config.commit)?;
            return Ok(files);
        }
        for file in FOREIGN_FILES {
            match self.fetch(name, &foreign_in(repo, revision, file)) {
                Err(Error::NoSuchFile { .. }) => {}
                done => return done,
            }
        }
        let reason = format!("it has none of {}: name the file of weights, {repo}:FILE", FOREIGN_FILES.join(", "));
        Err(Error::Name { name: repo.to_string(), reason })
    }

    fn fetch_foreign(
        &self,
        from: &ForeignFile,
        hints: &Hints,
        name: &str,
        entry: Option<&'static Entry>,
    ) -> Result<PathBuf> {
        let (key, file) = (key(from, hints, name)?, describe(from));
        let progress = self.hub.progress();
        let convert = |source: &Path, beside: Option<&Path>, out: &Path| {
            progress(Event::Converting { what: &file });
            let foreign = Foreign { source, beside, hints, entry };
            foreign.convert(out).map_err(|error| failed(error, &file, out))
        };
        // The branch or the local file may have changed; the digest tells whether this content was converted.
        let convert_file = |file: &Path, beside: &[PathBuf]| {
            let content = content_of(file, beside)?;
            let about = About { entry, content: Some(&content) };
            self.store.convert(&key, &about, progress, |_, out| {
                convert(file, beside.first().and_then(|config| config.parent()), out)?;
                Ok(content.clone())
            })
        };
        match from {
            ForeignFile::Hub { repo, revision, file } => {
                let weights = self.hub.fetch(repo, revision, file)?;
                let beside = match FOREIGN_FILES.contains(&file.as_str()) {
                    true => self.fetch_beside(repo, &weights.commit)?,
                    false => vec![],
                };
                self.hub.moved(repo, revision, &weights.commit)?;
                convert_file(&weights.path, &beside)
            }
            ForeignFile::File(path) => convert_file(path, &[]),
            ForeignFile::Url { url, member, digest } => {
                let downloads = self.store.download(url);
                // Held until the download is removed: another process may convert the same file with other hints.
                let _lock = self.store.lock_download(url, progress)?;
                let about = About { entry, content: None };
                let dir = self.store.convert(&key, &about, progress, |work, out| {
                    let file = self.hub.download(url, digest.as_ref(), &downloads)?;
                    let content = content_of(&file, &[])?;
                    let file = match archive::is_archive(&file)? {
                        true => archive::extract(&file, member.as_deref().unwrap_or(archive::USUAL_MEMBER), work)?,
                        false => file,
                    };
                    convert(&file, None, out)?;
                    Ok(content)
                })?;
                // The download is not needed after the conversion.
                super::store::remove_folder(&downloads)?;
                Ok(dir)
            }
        }
    }

    /// The files of a commit that describe the weights; none if there is no `config.json`.
    fn fetch_beside(&self, repo: &RepoId, commit: &str) -> Result<Vec<PathBuf>> {
        let mut found = vec![];
        for file in BESIDE_FILES {
            match self.hub.fetch(repo, commit, file) {
                Ok(fetched) => found.push(fetched.path),
                Err(Error::NoSuchFile { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }
}

fn content_of(file: &Path, beside: &[PathBuf]) -> Result<Content> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = beside.iter().map(|path| Ok((name(path), sha256_of(path)?))).collect::<Result<BTreeMap<_, _>>>()?;
    Ok(Content { sha256: sha256_of(file)?, beside })
}

/// A model directory that the user named.
fn local(dir: PathBuf) -> Resolved {
    Resolved { source: dir.display().to_string(), files: Files::Directory(dir), model: None, cached: true }
}

fn resolved(name: &Name, place: &Place, files: Files, cached: bool) -> Resolved {
    let model = if let Name::Entry(model) = name { Some(*model) } else { None };
    let source = match place {
        Place::Ours { repo, revision } => format!("{repo}@{revision}"),
        Place::Foreign { from, .. } => describe(from),
        Place::Bundled => files.to_string(),
    };
    Resolved { files, model, source, cached }
}

fn directory(dir: &Path) -> Files {
    Files::Directory(dir.to_owned())
}

fn describe(from: &ForeignFile) -> String {
    match from {
        ForeignFile::Hub { repo, revision, file } => format!("{repo}@{revision}:{file}"),
        ForeignFile::Url { url, .. } => url.clone(),
        ForeignFile::File(path) => path.display().to_string(),
    }
}

fn foreign_in(repo: &RepoId, revision: &str, file: &str) -> Place {
    let from = ForeignFile::Hub { repo: repo.clone(), revision: revision.into(), file: file.into() };
    Place::Foreign { from, hints: Hints::NONE, name: repo.as_str().into() }
}

/// The key of a file's model in the store. A local file is identified by path and content, since it may change.
fn key(from: &ForeignFile, hints: &Hints, name: &str) -> Result<Key> {
    let source = match from {
        ForeignFile::File(path) => format!("{} ({})", absolute(path).display(), &sha256_of(path)?[..DIGITS]),
        other => describe(other),
    };
    Ok(Key::new(name, source, hints))
}

/// How many digits of a local file's digest identify its content.
const DIGITS: usize = 16;

/// The path of the local file that a source names; `None` for an address or a file of the Hub.
pub(super) fn file_of(source: &str) -> Option<&Path> {
    let (path, digest) = source.strip_suffix(')')?.rsplit_once(" (")?;
    let is_digest = digest.len() == DIGITS && digest.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_digest.then_some(Path::new(path))
}

/// The absolute path, which is the same from any working folder.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The model directory that a path names, either itself or by one of its files.
fn own_directory(name: &Name) -> Result<Option<PathBuf>> {
    let Name::Path(path) = name else { return Ok(None) };
    let own_file = path.file_name().is_some_and(|name| name == CONFIG_FILE || name == WEIGHTS_FILE);
    let folder = if own_file && path.is_file() { path.parent().map(|folder| folder.join("")) } else { None };
    for candidate in [Some(path.clone()), folder].into_iter().flatten() {
        if candidate.join(CONFIG_FILE).is_file() {
            return Ok(Some(candidate));
        }
    }
    if path.is_dir() {
        let shown = path.display();
        let reason = format!(
            "this directory has no {CONFIG_FILE}; where it holds a checkpoint, \
             `weights-convert convert {shown} --out MODEL` makes a model directory of that"
        );
        return Err(Error::Name { name: shown.to_string(), reason });
    }
    Ok(None)
}

/// Whether a `config.json` is our recipe, of any version; other programs use the same file name.
pub(super) fn is_ours(config: &Path) -> bool {
    let text = candle_deeplab::file::read_text(config, MAX_CONFIG_BYTES).ok().flatten().unwrap_or_default();
    let recipe: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    recipe.get("format_version").is_some() && recipe.get("network").is_some()
}

/// The error of a conversion; a full disk is reported as such.
fn failed(source: weights_convert::Error, file: &str, out: &Path) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&source);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>().filter(|io| io.kind() == ErrorKind::StorageFull) {
            return unwritable_at(out)(io.kind().into());
        }
        cause = error.source();
    }
    Error::Convert { file: file.into(), source }
}
