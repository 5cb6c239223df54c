//! The names by which a user can call a model.

use std::path::{Path, PathBuf};

use super::entry::{BUNDLED, Entry};
use super::hub::{RepoId, check_file, check_revision};
use super::registry;
use crate::error::{Error, Result};

/// The meaning of a model's name.
#[derive(Debug, Clone, PartialEq)]
pub enum Name {
    /// A row of the registry.
    Entry(&'static Entry),
    /// `org/name[@revision][:file]`, a repo on the Hub.
    Repo {
        /// The repo.
        repo: RepoId,
        /// A branch, tag or commit; `main` by default.
        revision: String,
        /// A file in another program's format. Without it, the repo is a model directory or has one such file.
        file: Option<String>,
    },
    /// The address of a file.
    Url(String),
    /// A local path: a model directory, or a file in another program's format.
    Path(PathBuf),
}

impl Name {
    /// Parses a name. An existing file or folder takes precedence, except over [`BUNDLED`]. `endpoint` is the Hub's
    /// address.
    ///
    /// # Errors
    /// [`Error::Name`] with names that were perhaps meant.
    pub fn parse(name: &str, endpoint: &str) -> Result<Self> {
        if name == BUNDLED {
            return registry::get(name).map(Self::Entry);
        }
        let path = Path::new(name);
        if !name.is_empty() && path.exists() {
            return Ok(Self::Path(path.to_owned()));
        }
        if let Some(model) = registry::find(name) {
            return Ok(Self::Entry(model));
        }
        if name.contains("://") {
            return Ok(on_hub(name, endpoint).unwrap_or_else(|| Self::Url(name.into())));
        }
        if path.is_absolute() || name.starts_with(['.', '~', '\\']) || name.ends_with(['/', '\\']) {
            let reason = "there is no such file or directory".into();
            return Err(Error::Name { name: name.into(), reason });
        }
        if name.contains('/') { repo(name) } else { Err(registry::unknown(name)) }
    }
}

fn repo(name: &str) -> Result<Name> {
    // A file's path may contain `@` and a revision may contain `/`, but neither contains `:`.
    let (place, file) = name.split_once(':').map_or((name, None), |(place, file)| (place, Some(file)));
    let (id, revision) = place.split_once('@').unwrap_or((place, "main"));
    let id = RepoId::new(id).map_err(|_| Error::Name {
        name: name.into(),
        reason: "there is no such path, and a repo on the Hub is ORG/NAME[@REVISION][:FILE]".into(),
    })?;
    check_revision(revision)?;
    file.map(check_file).transpose()?;
    Ok(Name::Repo { repo: id, revision: revision.into(), file: file.map(str::to_owned) })
}

/// The address of a page of the Hub, copied from a browser: the page of a repo, of a folder in it, or of a file.
fn on_hub(url: &str, endpoint: &str) -> Option<Name> {
    let path = url.strip_prefix(endpoint)?.strip_prefix('/')?;
    let path = path.split(['?', '#']).next()?.trim_end_matches('/');
    let parts: Vec<&str> = path.splitn(5, '/').collect();
    let id = RepoId::new(&format!("{}/{}", parts.first()?, parts.get(1)?)).ok()?;
    match parts[2..] {
        [] => Some(Name::Repo { repo: id, revision: "main".into(), file: None }),
        ["tree", revision] => Some(Name::Repo { repo: id, revision: revision.into(), file: None }),
        ["blob" | "resolve", revision, file] => {
            check_revision(revision).ok()?;
            check_file(file).ok()?;
            Some(Name::Repo { repo: id, revision: revision.into(), file: Some(file.into()) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "https://huggingface.co";

    fn repo(id: &str, revision: &str, file: Option<&str>) -> Name {
        Name::Repo { repo: RepoId::new(id).unwrap(), revision: revision.into(), file: file.map(str::to_owned) }
    }

    #[test]
    fn a_name_is_what_it_looks_like() {
        let model = registry::get("deeplabv3plus-xception65-voc").unwrap();
        for (text, name) in [
            ("deeplabv3plus-xception65-voc", Name::Entry(model)),
            ("xception65-voc", Name::Entry(model)),
            ("org/name", repo("org/name", "main", None)),
            ("org/name@v1.0", repo("org/name", "v1.0", None)),
            ("org/name@refs/pr/1:a/b.pth", repo("org/name", "refs/pr/1", Some("a/b.pth"))),
            ("org/name:model@2.pth", repo("org/name", "main", Some("model@2.pth"))),
            ("https://huggingface.co/org/name", repo("org/name", "main", None)),
            ("https://huggingface.co/org/name/tree/v2", repo("org/name", "v2", None)),
            ("https://huggingface.co/org/name/blob/main/a/b.pth", repo("org/name", "main", Some("a/b.pth"))),
            (
                "https://huggingface.co/org/name/resolve/main/b.pth?download=true",
                repo("org/name", "main", Some("b.pth")),
            ),
            ("http://a.co/b.pth", Name::Url("http://a.co/b.pth".into())),
            ("src/lib.rs", Name::Path("src/lib.rs".into())),
            (".", Name::Path(".".into())),
            ("bundled", Name::Entry(registry::get("bundled").unwrap())),
        ] {
            assert_eq!(Name::parse(text, HUB).unwrap(), name, "{text}");
        }
    }

    #[test]
    fn what_is_none_says_what_it_could_have_been() {
        for (text, says) in [
            ("deeplabv3plus-xception65-foc", "did you mean deeplabv3plus-xception65-voc"),
            ("", "there is no model of that name"),
            ("no/such/dir", "a repo on the Hub is ORG/NAME"),
            ("./no_such", "no such file or directory"),
            ("/no/such", "no such file or directory"),
            ("org/name@..", "not a branch"),
            ("org/name:../../etc/passwd", "not the path of a file in a repo"),
        ] {
            let error = Name::parse(text, HUB).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
