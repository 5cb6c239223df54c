//! Folders, and what lies in them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};

use super::kinds::{IMAGES, VIDEOS, has_extension, of_file, original_of_ours};
use super::source::{Input, name_of};

/// Goes through folders and the folders in them, each of them once, however many links lead to it.
pub(super) struct Walk<'a> {
    /// The folder of the outputs, in which nothing is looked for.
    except: Option<&'a Path>,
    /// The folders that have been entered, without links in their paths.
    entered: HashSet<PathBuf>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(except: Option<&'a Path>) -> Self {
        Self { except, entered: HashSet::new() }
    }

    /// The images and videos in a folder and the folders in it, as far as they are not hidden, by name; `base` is what their
    /// names are relative to. What lies in the folder itself is found there, and not by a link.
    pub(super) fn inputs(&mut self, dir: &Path, base: &Path) -> Result<Vec<Input>> {
        let (mut inputs, mut links) = (vec![], vec![]);
        self.folder(dir, base, &mut inputs, &mut links)?;
        while !links.is_empty() {
            let mut further = vec![];
            links.sort();
            for link in links {
                // A link to nowhere or a folder that is not ours to read: an input that fails, and the rest go on.
                if self.folder(&link, base, &mut inputs, &mut further).is_err() {
                    inputs.push(found(link, base));
                }
            }
            links = further;
        }
        inputs.sort_by(|a, b| a.relative.cmp(&b.relative));
        Ok(inputs)
    }

    /// Takes what is in a folder without following links to others, which are added to `links`.
    fn folder(&mut self, dir: &Path, base: &Path, inputs: &mut Vec<Input>, links: &mut Vec<PathBuf>) -> Result<()> {
        let cannot = || format!("cannot list `{}`", dir.display());
        let mut entries = WalkDir::new(dir).sort_by_file_name().into_iter();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => match error.path().filter(|_| error.depth() > 0) {
                    Some(path) if is_hidden(path) => continue,
                    Some(path) => {
                        inputs.push(found(path.to_owned(), base));
                        continue;
                    }
                    None => return Err(error).with_context(cannot),
                },
            };
            let is_root = entry.depth() == 0;
            if !is_root && is_hidden(entry.path()) {
                skip(&mut entries, &entry);
                continue;
            }
            if entry.file_type().is_dir() || is_root {
                let real = entry.path().canonicalize().with_context(cannot)?;
                let is_output = !is_root && self.except == Some(real.as_path());
                if is_output || !self.entered.insert(real) {
                    skip(&mut entries, &entry);
                }
                continue;
            }
            let path = entry.into_path();
            match std::fs::metadata(&path) {
                Ok(found) if found.is_dir() => {
                    let is_output = path.canonicalize().is_ok_and(|real| self.except == Some(real.as_path()));
                    links.extend(Some(path).filter(|_| !is_output));
                }
                Ok(file) if !file.is_file() => {}
                Err(_) => inputs.push(found(path, base)),
                Ok(_) => {
                    let is_taken = has_extension(&path, &IMAGES) || has_extension(&path, &VIDEOS);
                    inputs.extend(
                        Some(path)
                            .filter(|path| is_taken && original_of_ours(path).is_none())
                            .map(|path| found(path, base)),
                    );
                }
            }
        }
        Ok(())
    }
}

fn found(path: PathBuf, base: &Path) -> Input {
    let relative = path.strip_prefix(base).unwrap_or(&path).to_owned();
    Input::found(of_file(path), relative)
}

fn is_hidden(path: &Path) -> bool {
    name_of(path).to_string_lossy().starts_with('.')
}

/// Leaves a folder out.
fn skip(entries: &mut walkdir::IntoIter, entry: &DirEntry) {
    if entry.file_type().is_dir() || entry.depth() == 0 {
        entries.skip_current_dir();
    }
}
