//! The file layout of huggingface_hub's cache, so that both programs find what the other has downloaded.
//!
//! ```text
//! hub/models--org--name/blobs/<etag>                      the content, once
//!                       refs/main                         the commit that a branch or tag was at
//!                       snapshots/<commit>/config.json    a link to ../../blobs/<etag>
//!     .locks/models--org--name/<etag>.lock
//! ```

use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::digest::Digest;
use super::download::unwritable_at;
use super::plain;
use crate::error::{Error, Result};

/// A commit's hash, and room for a line's end.
const MAX_REF_BYTES: u64 = 256;

/// A repo on the Hub: `organisation/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepoId(String);

impl RepoId {
    /// Checks a repo's name by the Hub's rules.
    ///
    /// # Errors
    /// [`Error::Name`] with the rule that it breaks.
    pub fn new(name: &str) -> Result<Self> {
        let part = |part: &str| {
            let letters = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
            letters
                && (1..=96).contains(&part.len())
                && !part.starts_with(['-', '.'])
                && !part.ends_with(['-', '.'])
                && !part.contains("--")
                && !part.contains("..")
        };
        match name.split_once('/') {
            Some((owner, repo)) if part(owner) && part(repo) => Ok(Self(name.into())),
            _ => {
                let reason = "a repo on the Hub is ORG/NAME, of letters, digits, `-`, `_` and `.`".into();
                Err(Error::Name { name: name.into(), reason })
            }
        }
    }

    /// The name, `organisation/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its folder in the cache.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }

    /// The repo that a folder of the cache belongs to.
    pub(crate) fn of_folder(name: &str) -> Option<Self> {
        let (owner, repo) = name.strip_prefix("models--")?.split_once("--")?;
        Self::new(&format!("{owner}/{repo}")).ok()
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks that a branch, tag or commit is safe in an address and in a path.
pub(crate) fn check_revision(revision: &str) -> Result<()> {
    let letters = revision.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    let parts = revision.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"));
    if letters && parts && revision.len() <= 256 && !revision.contains("..") {
        return Ok(());
    }
    Err(Error::Name { name: revision.into(), reason: "it is not a branch, a tag or a commit".into() })
}

/// Checks that a file's path stays inside its repo.
pub(crate) fn check_file(file: &str) -> Result<()> {
    let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
    let plain = file.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if inside && plain && !file.contains(['\\', ':', '\0']) && file.len() <= 1024 {
        return Ok(());
    }
    Err(Error::Name { name: file.into(), reason: "it is not the path of a file in a repo".into() })
}

/// Whether a revision is a commit's full hash.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The folder of one repo in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    folder: PathBuf,
    locks: PathBuf,
}

impl Layout {
    pub(crate) fn new(cache: &Path, repo: &RepoId) -> Self {
        Self { folder: cache.join(repo.folder()), locks: cache.join(".locks").join(repo.folder()) }
    }

    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    pub(crate) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The commit that a revision pointed to when the Hub was last asked.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.into());
        }
        let commit = plain::read_small(&self.folder.join("refs").join(revision), MAX_REF_BYTES).ok()??;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The file in the cache, if it is there.
    pub(crate) fn find(&self, revision: &str, file: &str) -> Option<PathBuf> {
        let path = self.snapshot(&self.commit(revision)?).join(file);
        path.is_file().then_some(path)
    }

    /// Makes the folders of a file in the repo's folder, none of which may be a link: somebody else's `main` in the folder
    /// where `refs` leads would be overwritten. The repo's folder itself may be anywhere.
    pub(crate) fn make_folder_of(&self, path: &Path) -> Result<()> {
        make_folder_of(&self.folder.join("blobs"))?;
        let Some(inside) = path.strip_prefix(&self.folder).ok().and_then(Path::parent) else { return Ok(()) };
        let mut folder = self.folder.clone();
        for part in inside.components() {
            folder.push(part);
            plain::make_folder(&folder).map_err(|error| unwritable_at(&folder)(error))?;
        }
        Ok(())
    }

    /// What a file of a commit must be, where it is a link to a blob, which has its digest for a name.
    pub(crate) fn digest(&self, path: &Path) -> Option<Digest> {
        Digest::of_etag(path.read_link().ok()?.file_name()?.to_str()?)
    }

    /// Remembers where a branch or tag is.
    pub(crate) fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit(revision).is_some_and(|known| known == commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        self.make_folder_of(&path)?;
        plain::check(&path).map_err(unwritable_at(&path))?;
        Ok(candle_deeplab::atomic::write(&path, |file| io::Write::write_all(file, commit.as_bytes()))?)
    }

    /// Adds a blob to a commit's folder as `file`: as a link or, where links are not possible, as a copy.
    pub(crate) fn link(&self, etag: &str, commit: &str, file: &str) -> Result<PathBuf> {
        let path = self.snapshot(commit).join(file);
        self.make_folder_of(&path)?;
        // From the file's folder up to the commit's, and from there to the repo's.
        let target = format!("{}../../blobs/{etag}", "../".repeat(file.split('/').count() - 1));
        // What is there is of no use: a broken link, or a link to another blob of a damaged cache.
        let to_another = path.read_link().is_ok_and(|link| link.file_name() != Some(etag.as_ref()));
        if to_another || path.symlink_metadata().is_ok() && !path.is_file() {
            std::fs::remove_file(&path).map_err(unwritable_at(&path))?;
        }
        if path.is_file() {
            return Ok(path);
        }
        match symlink(&target, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => copy(&self.blob(etag), &path)?,
        }
        Ok(path)
    }
}

#[cfg(unix)]
fn symlink(target: &str, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn symlink(target: &str, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target.replace('/', "\\"), path)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &str, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut blob = plain::open(from).map_err(Error::io(from))?;
    Ok(candle_deeplab::atomic::write(to, |file| io::copy(&mut blob, file).map(drop))?)
}

pub(crate) fn make_folder_of(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|source| Error::Cache {
        path: folder.to_owned(),
        reason: super::lock::unwritable(&source),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repo_has_an_owner_and_a_name() {
        let repo = RepoId::new("org/deeplab_v3.1").unwrap();
        assert_eq!(repo.folder(), "models--org--deeplab_v3.1");
        assert_eq!(RepoId::of_folder("models--org--deeplab_v3.1"), Some(repo));
        assert_eq!(RepoId::of_folder("datasets--org--name"), None);
        for wrong in ["name", "a/b/c", "../b", "a/..", "a/b--c", "a/", "/b", "a/b c", "-a/b", "a/b.", "a\\b/c"] {
            assert!(RepoId::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_leads_out_of_the_cache() {
        for good in ["main", "v1.0", "refs/pr/1", "bc55703"] {
            assert!(check_revision(good).is_ok(), "{good}");
        }
        for bad in ["", "../x", "a//b", "/a", "a/", ".git", "a b", "a?b", "x.lock", "a..b"] {
            assert!(check_revision(bad).is_err(), "{bad}");
        }
        for good in ["config.json", "onnx/model.onnx", "a b.txt"] {
            assert!(check_file(good).is_ok(), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../../b", "a//b", "./a", "C:\\x", "a\\b", "a/"] {
            assert!(check_file(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_found_under_its_branch_and_its_commit() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), &RepoId::new("org/name").unwrap());
        let (commit, etag) = ("1".repeat(40), "e".repeat(40));
        make_folder_of(&layout.blob(&etag)).unwrap();
        std::fs::write(layout.blob(&etag), "content").unwrap();
        for file in ["config.json", "onnx/deep/model.onnx"] {
            let path = layout.link(&etag, &commit, file).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "content");
            #[cfg(unix)]
            assert!(!std::fs::read_link(&path).unwrap().is_absolute(), "a cache can be moved");
            assert_eq!(layout.link(&etag, &commit, file).unwrap(), path);
            assert_eq!(layout.find(&commit, file), Some(path.clone()));
        }
        assert_eq!(layout.find("main", "config.json"), None);
        layout.set_commit("main", &commit).unwrap();
        assert!(layout.find("main", "config.json").is_some());
        assert_eq!(std::fs::read_to_string(dir.path().join("models--org--name/refs/main")).unwrap(), commit);
    }
}
