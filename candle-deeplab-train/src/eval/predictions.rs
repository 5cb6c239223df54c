//! Other people's label maps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::pairs::Pairs;
use crate::error::{Error, Result};

/// How deep folders of predictions may lie in one another; deeper is a link that leads back.
const MAX_DEPTH: usize = 8;
/// How many missing names an error lists.
const MOST_NAMES: usize = 5;

/// The label maps of a folder: PNG files of ids, numbered as the data set's own label maps, and one for each image.
///
/// The file of an image is called as the image or as its label map, in the same folders below the root or without folders.
/// Those of Cityscapes need only begin with city, sequence and frame, as its server takes them.
#[derive(Debug, Clone)]
pub struct Predictions {
    files: Vec<PathBuf>,
}

impl Predictions {
    /// Finds the files of the first `count` images, and reads none.
    ///
    /// # Errors
    /// [`Error::Data`] with the number and names of those that are missing, [`Error::Io`] where the folder cannot be read.
    pub fn find(folder: impl AsRef<Path>, pairs: &dyn Pairs, count: usize) -> Result<Self> {
        let folder = folder.as_ref();
        if !folder.is_dir() {
            return Err(Error::data(folder, "there is no such folder: name the folder of the predicted label maps"));
        }
        let mut found = Found::default();
        found.collect(folder, "", MAX_DEPTH)?;
        let names: BTreeSet<&str> = (0..pairs.len()).map(|index| pairs.name(index)).collect();
        let (mut files, mut missing) = (vec![], vec![]);
        for index in 0..count.min(pairs.len()) {
            match found.file(pairs.name(index), pairs.label_name(index), &names) {
                Some(path) => files.push(path.clone()),
                None => missing.push(pairs.name(index)),
            }
        }
        if missing.is_empty() {
            return Ok(Self { files });
        }
        let shown = missing.iter().take(MOST_NAMES).map(|name| format!("{name}.png")).collect::<Vec<_>>().join(", ");
        let more = match missing.len().saturating_sub(MOST_NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (all, missing) = (count.min(pairs.len()), missing.len());
        let reason = format!(
            "{missing} of {all} predictions are missing: {shown}{more}. Each is a PNG of ids, called as its image or label map"
        );
        Err(Error::data(folder, reason))
    }

    /// The file of an image.
    pub(super) fn path(&self, index: usize) -> Option<&Path> {
        self.files.get(index).map(PathBuf::as_path)
    }
}

/// The PNG files of a folder.
#[derive(Default)]
struct Found {
    /// By their paths below the folder, without extension.
    paths: BTreeMap<String, PathBuf>,
    /// By their names alone; `None` where several have one.
    bases: BTreeMap<String, Option<PathBuf>>,
}

impl Found {
    fn collect(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<()> {
        for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.'))
            else {
                continue;
            };
            if path.is_dir() {
                if depth == 0 {
                    let reason = format!("folders lie more than {MAX_DEPTH} deep: is it a link that leads back?");
                    return Err(Error::data(path, reason));
                }
                self.collect(&path, &format!("{prefix}{name}/"), depth - 1)?;
            } else if let Some((stem, extension)) = name.rsplit_once('.')
                && extension.eq_ignore_ascii_case("png")
            {
                self.paths.insert(format!("{prefix}{stem}"), path.clone());
                let base = self.bases.entry(stem.to_owned());
                base.and_modify(|other| *other = None).or_insert(Some(path));
            }
        }
        Ok(())
    }

    /// The file of an image, `names` being those of all images.
    fn file(&self, name: &str, label: Option<&str>, names: &BTreeSet<&str>) -> Option<&PathBuf> {
        let (folders, base) = name.rsplit_once('/').map_or(("", name), |(folders, base)| (folders, base));
        let beside = |other: &str| if folders.is_empty() { other.to_owned() } else { format!("{folders}/{other}") };
        let by_base = |base: &str| self.bases.get(base).and_then(Option::as_ref);
        // A base name that several images have belongs to none of them.
        let is_unique = || !names.iter().any(|other| *other != name && other.rsplit('/').next() == Some(base));
        let same = self.paths.get(name).or_else(|| label.and_then(|label| self.paths.get(&beside(label))));
        let same = same.or_else(|| by_base(base).filter(|_| is_unique()));
        let same = same.or_else(|| label.and_then(by_base).filter(|_| is_unique()));
        same.or_else(|| {
            // City, sequence, frame, and whatever the network's name is.
            let numbers: Vec<&str> = base.rsplit('_').take(2).collect();
            let is_frame = numbers.len() == 2
                && numbers.iter().all(|number| number.len() == 6 && number.bytes().all(|byte| byte.is_ascii_digit()));
            let start = format!("{base}_");
            let mut rest = self.bases.range(start.clone()..).take_while(|(other, _)| other.starts_with(&start));
            let only = rest.next().and_then(|(_, path)| path.as_ref()).filter(|_| is_frame);
            only.filter(|_| rest.next().is_none())
        })
    }
}
