//! Where the files of a data set lie: one layout a file.

pub(super) mod ade20k;
pub(super) mod cityscapes;
mod folder;
pub(super) mod voc;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_deeplab::suggest;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How deep folders of images may lie in one another; deeper is a link that leads back.
const MAX_DEPTH: usize = 8;

/// The extensions of the formats that [`candle_deeplab::pixels`] reads.
const IMAGES: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif"];
const LABELS: [&str; 1] = ["png"];

/// The layout of a data set's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `images/SPLIT/NAME.jpg` (or another format) with `labels/SPLIT/NAME.png`, or `SPLIT/images/…` with
    /// `SPLIT/labels/…`.
    Folder,
    /// PASCAL VOC 2012: `JPEGImages`, `SegmentationClass` or `SegmentationClassAug`, and
    /// `ImageSets/Segmentation/SPLIT.txt`.
    Voc,
    /// Cityscapes: `leftImg8bit/SPLIT/CITY/…_leftImg8bit.png` with `gtFine/SPLIT/CITY/…_gtFine_labelIds.png` (or
    /// `…_labelTrainIds.png`).
    Cityscapes,
    /// ADE20K's scene parsing challenge: `images/{training,validation}` and `annotations/{training,validation}`.
    Ade20k,
}

/// An image and its label map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    /// The name within the split: the path without its extension.
    pub(super) name: String,
    pub(super) image: PathBuf,
    /// `None` where labels are not asked for.
    pub(super) labels: Option<PathBuf>,
}

/// What a label file's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// They are the classes' numbers.
    Classes,
    /// Cityscapes' label ids, of which 19 are classes.
    CityscapesIds,
    /// 0 is ignored, and class `i` is `i + 1`.
    FromOne,
}

/// The files of a split, and what is wrong with them.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) files: Vec<Files>,
    pub(super) encoding: Encoding,
    pub(super) faults: Vec<Error>,
}

impl Kind {
    /// The layout of a folder, told by the folders in it; `Folder` where they are none of the others'.
    pub fn of(dir: &Path) -> Self {
        let has = |names: &[&str]| names.iter().all(|name| dir.join(name).is_dir());
        if voc::root(dir).is_some() {
            Self::Voc
        } else if has(&["leftImg8bit"]) {
            Self::Cityscapes
        } else if ade20k::root(dir).is_some() {
            Self::Ade20k
        } else {
            Self::Folder
        }
    }

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Voc => "voc",
            Self::Cityscapes => "cityscapes",
            Self::Ade20k => "ade20k",
        }
    }

    /// Whether two names stand for one split.
    pub(super) fn same_split(self, one: &str, other: &str) -> bool {
        self.split(one) == self.split(other)
    }

    /// The split that a name stands for: ADE20K's folders have longer names than all others'.
    fn split(self, name: &str) -> &str {
        match (self, name) {
            (Self::Ade20k, "train") => "training",
            (Self::Ade20k, "val") => "validation",
            _ => name,
        }
    }
}

/// The names of the splits, in the order of the alphabet.
pub(super) fn splits(kind: Kind, dir: &Path) -> Result<Vec<String>> {
    if !dir.is_dir() {
        return Err(Error::data(dir, "there is no such folder: name the folder of the data set"));
    }
    let splits = match kind {
        Kind::Folder => folder::splits(dir),
        Kind::Voc => voc::splits(dir),
        Kind::Cityscapes => cityscapes::splits(dir),
        Kind::Ade20k => ade20k::splits(dir),
    }?;
    Ok(splits.into_iter().collect())
}

/// The files of a split, with label maps if they are wanted.
///
/// # Errors
/// [`Error::Data`] where there is no such split, or no image in it. Faults of single files are in the result.
pub(super) fn list(kind: Kind, dir: &Path, split: &str, wants_labels: bool) -> Result<Listing> {
    let there = splits(kind, dir)?;
    let Some(split) = there.iter().find(|known| *known == kind.split(split)) else {
        let near = suggest::question(&suggest::closest(split, there.iter().map(|name| vec![name.as_str()])));
        return Err(Error::data(dir, format!("it has no split `{split}`, but {}{near}", there.join(", "))));
    };
    let listing = match kind {
        Kind::Folder => folder::list(dir, split, wants_labels),
        Kind::Voc => voc::list(dir, split, wants_labels),
        Kind::Cityscapes => cityscapes::list(dir, split, wants_labels),
        Kind::Ade20k => ade20k::list(dir, split, wants_labels),
    }?;
    if listing.files.is_empty() && listing.faults.is_empty() {
        let formats = IMAGES.join(", ");
        let reason = format!("its split `{split}` is empty: put images there ({formats}), or choose another split");
        return Err(Error::data(dir, reason));
    }
    Ok(listing)
}

/// Joins images and label maps by their names.
fn pair(images: Named, labels: Option<Named>, where_labels: &Path) -> (Vec<Files>, Vec<Error>) {
    let mut faults = images.faults;
    let Some(mut labels) = labels else {
        let files = images.paths.into_iter().map(|(name, image)| Files { name, image, labels: None });
        return (files.collect(), faults);
    };
    faults.extend(labels.faults);
    let mut files = vec![];
    for (name, image) in images.paths {
        match labels.paths.remove(&name) {
            Some(label) => files.push(Files { name, image, labels: Some(label) }),
            None => {
                let folder = where_labels.display();
                faults.push(Error::data(
                    image,
                    format!(
                        "it has no label map in `{folder}`: add one of that name, or move the image out of the split"
                    ),
                ));
            }
        }
    }
    let unused = labels.paths.into_values();
    faults.extend(
        unused.map(|path| Error::data(path, "this label map has no image: add the image, or remove the label map")),
    );
    (files, faults)
}

/// Files of a folder by name.
struct Named {
    paths: BTreeMap<String, PathBuf>,
    /// Files that share a name.
    faults: Vec<Error>,
}

impl Named {
    /// The files below a folder that have one of the extensions, by their paths in it without extension. Hidden files
    /// are left out.
    fn below(folder: &Path, extensions: &[&str]) -> Result<Self> {
        let mut named = Self { paths: BTreeMap::new(), faults: vec![] };
        named.collect(folder, "", extensions, MAX_DEPTH)?;
        Ok(named)
    }

    fn collect(&mut self, folder: &Path, prefix: &str, extensions: &[&str], depth: usize) -> Result<()> {
        for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                let shown = path.display().to_string();
                self.faults.push(Error::data(shown, "its name is not UTF-8: rename it"));
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                if depth == 0 {
                    return Err(Error::data(
                        path,
                        format!("folders lie more than {MAX_DEPTH} deep: is it a link that leads back?"),
                    ));
                }
                self.collect(&path, &format!("{prefix}{name}/"), extensions, depth - 1)?;
            } else if let Some((stem, extension)) = name.rsplit_once('.')
                && extensions.iter().any(|known| known.eq_ignore_ascii_case(extension))
            {
                self.insert(format!("{prefix}{stem}"), path.clone());
            }
        }
        Ok(())
    }

    fn insert(&mut self, name: String, path: PathBuf) {
        if let Some(other) = self.paths.get(&name) {
            // Which one comes first depends on the file system.
            let (first, second) = if *other < path { (other, &path) } else { (&path, other) };
            let reason = format!("`{}` has the same name: only one of them can belong to a label map", first.display());
            self.faults.push(Error::data(second, reason));
        } else {
            self.paths.insert(name, path);
        }
    }

    /// The files whose names end in `suffix`, by the names without it.
    fn with_suffix(self, suffix: &str) -> Self {
        let stripped = |(name, path): (String, PathBuf)| Some((name.strip_suffix(suffix)?.to_owned(), path));
        Self { paths: self.paths.into_iter().filter_map(stripped).collect(), faults: self.faults }
    }
}

/// The folders in a folder; none where it does not exist.
fn folders(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    if !folder.is_dir() {
        return Ok(names);
    }
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.'));
        if let Some(name) = name.filter(|_| path.is_dir()) {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

/// The label maps of a folder, which has to be there.
fn labels_below(folder: &Path) -> Result<Named> {
    if !folder.is_dir() {
        return Err(Error::data(
            folder,
            "this folder of label maps does not exist: they are PNG files of ids, one for each image",
        ));
    }
    Named::below(folder, &LABELS)
}
