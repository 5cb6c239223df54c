//! A client of the Hugging Face Hub, which shares the cache of the Python client.
//!
//! It asks little of the Hub (a file of a revision; a commit of new files) and much of itself: every file is verified
//! (the Hub's SHA-256 for large files, git's hash for small ones) when it arrives and when it has changed since, an
//! interrupted transfer goes on where it stopped, one that has no end or takes for ever is ended, two processes wait for
//! each other by the lock that huggingface_hub takes, nothing in the cache is written through a link or waited for, the
//! token goes to the Hub's own host only, and `HF_HUB_OFFLINE` is obeyed.
//!
//! The crate `hf-hub` is not used, since what it lacks cannot be added around it. Version 0.5.0 sends the token to
//! whatever host the Hub redirects to, uses the server's ETag as a file name without checking it (`../../x` is written
//! outside of the cache), panics at a redirect without a location, and gives up after five seconds if another process
//! holds the lock; all of that happens within one call. Version 1.0 starts an interrupted transfer over and brings 182
//! crates, where `ureq` and the digests are 32. Neither compares digests or knows `HF_HUB_OFFLINE`.

mod digest;
mod download;
mod http;
mod layout;
mod limit;
mod lock;
mod pace;
mod plain;
mod progress;
mod publish;
mod settings;
mod url;
mod verified;

use std::path::{Path, PathBuf};

use ureq::Body;
use ureq::http::Response;

use digest::MAX_FILE_BYTES;
pub(crate) use digest::{Digest, sha256, sha256_of, sha256_of_all};
use download::Download;
pub(crate) use download::{unwritable_at, with_suffix};
use http::{Failure, Http, refusal, text, worth_another_try};
pub use layout::RepoId;
pub(crate) use layout::{Layout, check_file, check_revision, make_folder_of};
use limit::Limit;
pub(crate) use lock::Lock;
pub use pace::LowestRate;
pub(crate) use plain::open as open_plain;
pub(crate) use progress::silent;
pub use progress::{Event, Progress};
pub use publish::Published;
pub use settings::{Settings, Token};
pub(crate) use verified::{Here, Records};

use crate::error::{Error, Result};

/// A client of the Hub, or of a server with the same interface.
#[derive(Clone)]
pub struct Hub {
    settings: Settings,
    http: Http,
    progress: Progress,
    records: Records,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A file of a repo, and its commit.
pub(crate) struct Fetched {
    pub(crate) path: PathBuf,
    pub(crate) commit: String,
}

/// What the Hub says about a file.
struct Metadata {
    /// The commit that the revision points to.
    commit: String,
    /// The file's name in the cache.
    etag: String,
    digest: Option<Digest>,
    size: Option<u64>,
    /// The address of the content.
    url: String,
}

impl Hub {
    /// A client with these settings.
    ///
    /// # Errors
    /// [`Error::Setting`] if one of them cannot be used.
    pub fn new(settings: Settings) -> Result<Self> {
        let http = Http::new(&settings)?;
        let records = Records::new(&settings.models);
        Ok(Self { settings, http, progress: silent(), records })
    }

    /// Reports what is going on to `progress`.
    pub fn with_progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) fn layout(&self, repo: &RepoId) -> Layout {
        Layout::new(&self.settings.cache, repo)
    }

    /// A file of a repo as it is in the cache: of a branch, as it was when somebody last asked the Hub. A file that is not
    /// what it was when it was fetched has to be fetched again, so it is not there.
    ///
    /// # Errors
    /// [`Error::Name`] where revision or file cannot be one; [`Error::Library`] where the file cannot be read.
    pub fn cached(&self, repo: &RepoId, revision: &str, file: &str) -> Result<Option<PathBuf>> {
        match self.look(repo, revision, file)? {
            Here::Good(path) => Ok(Some(path)),
            Here::Nothing | Here::Damaged(_) => Ok(None),
        }
    }

    /// What the cache has of a file. A copy of a blob, which is what there is where links are not, has no digest.
    fn look(&self, repo: &RepoId, revision: &str, file: &str) -> Result<Here> {
        check_revision(revision)?;
        check_file(file)?;
        let layout = self.layout(repo);
        let Some(path) = layout.find(revision, file) else { return Ok(Here::Nothing) };
        let damage = match layout.digest(&path) {
            Some(digest) => self.records.check(&path, &digest)?,
            None => None,
        };
        Ok(damage.map_or(Here::Good(path), Here::Damaged))
    }

    /// A file of a repo as it is on the Hub, downloaded unless the cache has this version. If the Hub cannot be
    /// reached, the version that the cache has for this revision is returned.
    ///
    /// # Errors
    /// [`Error::NoSuchFile`]; [`Error::Status`] with the reason where the Hub refuses; [`Error::Network`], [`Error::Answer`],
    /// [`Error::Digest`] and [`Error::Cache`] for all that can go wrong on the way; [`Error::Offline`]; [`Error::Damaged`]
    /// where the cache's file has changed and the Hub cannot be asked for it.
    pub fn file(&self, repo: &RepoId, revision: &str, file: &str) -> Result<PathBuf> {
        let Fetched { path, commit } = self.fetch(repo, revision, file)?;
        self.moved(repo, revision, &commit)?;
        Ok(path)
    }

    /// Records that a branch points to this commit. Call it when all files are there: otherwise an incomplete model
    /// would hide that of the commit before.
    pub(crate) fn moved(&self, repo: &RepoId, revision: &str, commit: &str) -> Result<()> {
        self.layout(repo).set_commit(revision, commit)
    }

    /// As [`file`](Self::file), but does not record where the branch points to.
    pub(crate) fn fetch(&self, repo: &RepoId, revision: &str, file: &str) -> Result<Fetched> {
        let layout = self.layout(repo);
        let known = |path| Fetched { path, commit: layout.commit(revision).unwrap_or_else(|| revision.into()) };
        let here = self.look(repo, revision, file)?;
        match here {
            // A commit never changes.
            Here::Good(path) if layout::is_commit(revision) => return Ok(known(path)),
            Here::Good(path) if self.settings.offline => return Ok(known(path)),
            Here::Damaged(damage) if self.settings.offline => return Err(damage.offline()),
            Here::Nothing if self.settings.offline => {
                return Err(Error::Offline { what: format!("{repo}@{revision}:{file}") });
            }
            _ => {}
        }
        let metadata = match (self.metadata(repo, revision, file), here) {
            (Ok(metadata), _) => metadata,
            (Err(error @ (Error::Network { .. } | Error::Status { status: 500.., .. })), here) => match here {
                Here::Good(path) => return Ok(known(path)),
                Here::Damaged(damage) => return Err(damage.error(format!("It cannot be fetched again: {error}"))),
                Here::Nothing => return Err(error),
            },
            (Err(error), _) => return Err(error),
        };
        let blob = layout.blob(&metadata.etag);
        layout.make_folder_of(&blob)?;
        let what = format!("{repo}/{file}");
        let _lock = Lock::acquire(&layout.lock(&metadata.etag), &what, &self.progress)?;
        if !self.is_good(&blob, &metadata)? {
            let download = Download {
                http: &self.http,
                url: &metadata.url,
                what: &what,
                size: metadata.size,
                limit: Limit::of(file, metadata.digest.as_ref()),
                digest: metadata.digest.as_ref(),
                validator: None,
                progress: &self.progress,
            };
            download.run(&blob)?;
            if let Some(digest) = &metadata.digest {
                self.records.remember(&blob, digest);
            }
        }
        let path = layout.link(&metadata.etag, &metadata.commit, file)?;
        Ok(Fetched { path, commit: metadata.commit })
    }

    /// Whether a blob is there and what the Hub says. One that is not stays until another takes its place.
    fn is_good(&self, blob: &Path, metadata: &Metadata) -> Result<bool> {
        let damage = match &metadata.digest {
            _ if !blob.is_file() => return Ok(false),
            Some(digest) => self.records.check(blob, digest)?,
            // Without a digest the size is all that there is to compare.
            None => {
                let size = blob.metadata().map_err(Error::io(blob))?.len();
                return Ok(metadata.size.is_none_or(|wanted| wanted == size));
            }
        };
        if let Some(damage) = &damage {
            damage.tell(&self.progress);
        }
        Ok(damage.is_none())
    }

    fn metadata(&self, repo: &RepoId, revision: &str, file: &str) -> Result<Metadata> {
        let url = self.address(repo, revision, file);
        self.http.retry(|| {
            let (location, response) = self.http.head(&url)?;
            if let Some(asked) = worth_another_try(&response) {
                return Err(Failure::Again(self.refused(&url, repo, revision, file, &response), asked));
            }
            if !(response.status().is_success() || response.status().is_redirection()) {
                return Err(self.refused(&url, repo, revision, file, &response).into());
            }
            Ok(metadata(&url, location, &response)?)
        })
    }

    /// The address of a file.
    fn address(&self, repo: &RepoId, revision: &str, file: &str) -> String {
        let revision = url::escape(revision, "");
        format!("{}/{repo}/resolve/{revision}/{}", self.settings.endpoint, url::escape(file, "/"))
    }

    /// The error for a refused request, with the reason and what to do.
    fn refused(&self, url: &str, repo: &RepoId, revision: &str, file: &str, response: &Response<Body>) -> Error {
        let endpoint = &self.settings.endpoint;
        let token = match &self.settings.token {
            None => "set HF_TOKEN to a token of an account that has it".to_owned(),
            Some(token) => format!("use a token of an account that has it (this one is from {})", token.from),
        };
        let reason = match (response.status().as_u16(), text(response.headers(), "x-error-code")) {
            (_, Some("GatedRepo")) => format!("`{repo}` is gated: accept its terms at {endpoint}/{repo}, then {token}"),
            (_, Some("EntryNotFound")) => {
                let (repo, revision, file) = (repo.to_string(), revision.into(), file.into());
                return Error::NoSuchFile { repo, revision, file };
            }
            (_, Some("RevisionNotFound")) => format!("`{repo}` has no branch, tag or commit `{revision}`"),
            (401 | 404, _) => format!(
                "there is no repo `{repo}`, or it is private: check the name at {endpoint}/{repo}; if it is private, {token}"
            ),
            (403, _) => format!("access to `{repo}` is not granted: {token}"),
            (429, _) => "too many requests: wait a few minutes, or set HF_TOKEN".into(),
            (500.., _) => "the Hub is busy or ill: try again later".into(),
            _ => format!(
                "an answer that the Hub does not give: is HF_ENDPOINT ({endpoint}) right, or a proxy in between?"
            ),
        };
        refusal(url, response.status(), reason)
    }
}

fn metadata(asked: &str, location: String, response: &Response<Body>) -> Result<Metadata> {
    let headers = response.headers();
    let wrong = |what: &str| Error::Answer {
        url: asked.into(),
        reason: format!(
            "the answer has no {what}, so it is not the Hub's: is HF_ENDPOINT right, or a proxy in between?"
        ),
    };
    let commit = text(headers, "x-repo-commit").filter(|commit| layout::is_commit(commit));
    let commit = commit.ok_or_else(|| wrong("commit (X-Repo-Commit)"))?.to_owned();
    let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
    let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
    // The ETag becomes a file name.
    let plain = |etag: &String| {
        (1..=128).contains(&etag.len()) && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let etag = etag.filter(plain).ok_or_else(|| wrong("usable ETag"))?;
    let own = || text(headers, "content-length").filter(|_| !response.status().is_redirection());
    let size = text(headers, "x-linked-size").or_else(own).and_then(|size| size.parse().ok());
    Ok(Metadata { commit, digest: Digest::of_etag(&etag), etag, size, url: location })
}

impl Hub {
    /// Downloads an author's file into `folder`, where it stays until it has been converted, and returns its path. The
    /// caller holds the folder's lock, also while using the file.
    pub(crate) fn download(&self, url: &str, digest: Option<&Digest>, folder: &Path) -> Result<PathBuf> {
        if self.settings.offline {
            return Err(Error::Offline { what: url.into() });
        }
        let (size, validator) = self.http.retry(|| self.version(url))?;
        // A partial file is resumed only if the server still has the same version.
        let version = digest.map(Digest::wanted).or(validator.as_deref());
        let target = folder.join(&sha256(version.unwrap_or("").as_bytes())[..16]).join(url::file_name(url));
        make_folder_of(&target)?;
        match digest {
            Some(digest) if target.is_file() && digest.check(&target)?.1 => return Ok(target),
            None if target.is_file() && version.is_some() => return Ok(target),
            _ => {}
        }
        let partial = with_suffix(&target, ".incomplete");
        if version.is_none() && partial.exists() {
            std::fs::remove_file(&partial).map_err(unwritable_at(&partial))?;
        }
        let (http, what, progress) = (&self.http, url, &self.progress);
        Download { http, url, what, size, limit: Limit::MODEL, digest, validator: validator.as_deref(), progress }
            .run(&target)?;
        Ok(target)
    }

    /// The size of a file at an address, and what identifies this version of it.
    fn version(&self, url: &str) -> std::result::Result<(Option<u64>, Option<String>), Failure> {
        let response = self.http.get(url, &[("range", "bytes=0-0")])?;
        if let Some(asked) = worth_another_try(&response) {
            let error = refusal(url, response.status(), "the server is busy or ill: try again later");
            return Err(Failure::Again(error, asked));
        }
        if !response.status().is_success() {
            let reason = "the file is not to be had there: check the address";
            return Err(refusal(url, response.status(), reason).into());
        }
        let headers = response.headers();
        let size = match response.status().as_u16() {
            206 => text(headers, "content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok()),
            _ => response.body().content_length(),
        };
        let strong = text(headers, "etag").filter(|etag| !etag.starts_with("W/"));
        let validator = strong.or_else(|| text(headers, "last-modified"));
        Ok((size.filter(|size| *size <= MAX_FILE_BYTES), validator.map(str::to_owned)))
    }

    /// Whether the Hub answers.
    ///
    /// # Errors
    /// Those of [`file`](Self::file).
    pub fn ping(&self) -> Result<()> {
        if self.settings.offline {
            return Err(Error::Offline { what: "the Hub".into() });
        }
        let url = format!("{}/api/models?limit=1", self.settings.endpoint);
        let answer = self.http.get(&url, &[]).map_err(|failure| match failure {
            Failure::Final(error) | Failure::Again(error, _) => error,
        })?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(refusal(&url, answer.status(), "the Hub does not answer as it should: is HF_ENDPOINT right?"))
    }
}
