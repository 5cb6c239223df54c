//! Looks through a whole data set: sizes, ids, and all that is wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_deeplab::Labels;
use candle_deeplab::graph::Size;
use rayon::prelude::*;
use serde::Serialize;

use super::ids::Ids;
use super::label_file::LabelFile;
use super::{Dataset, IGNORE, Kind, Source, layout, names};
use crate::error::{Error, Result};

/// What is in a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The layout.
    pub kind: Kind,
    /// The classes.
    pub labels: Labels,
    /// Where the classes come from, if they were not said.
    pub note: Option<String>,
    /// The splits that were looked through.
    pub splits: Vec<SplitCheck>,
}

/// What is in a split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitCheck {
    /// Its name.
    pub split: String,
    /// The images that have a label map.
    pub images: usize,
    /// The images' sizes, the most frequent first.
    pub sizes: Vec<SizeCount>,
    /// The ids in the label files, in their order.
    pub ids: Vec<IdCount>,
    /// What is wrong, as sentences that begin with the file.
    pub faults: Vec<String>,
}

/// A size of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// How many images have this size.
    pub images: usize,
}

/// An id of label files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IdCount {
    /// The id as it stands in the files.
    pub id: u8,
    /// The class that it means; `None` where it is ignored, or means nothing.
    pub class: Option<u8>,
    /// The class's name, `ignored`, or `unknown`.
    pub name: String,
    /// How many images have the id.
    pub images: usize,
    /// How many pixels have it.
    pub pixels: u64,
    /// Its share of all pixels of the split.
    pub share: f64,
}

/// Looks through splits of a data set, or through all of them: decodes each file, counts ids, and lists all that is wrong.
/// Classes are found as by [`Dataset::open`], but without a name the ids of all splits count.
///
/// `progress` is called for each image that has been read.
///
/// # Errors
/// [`Error::Data`] where the folder does not have the layout, or has no such split. Whatever is wrong with files is in
/// the result.
pub fn check(source: &Source, splits: &[String], progress: &(dyn Fn() + Sync)) -> Result<Check> {
    let kind = source.layout();
    let all = source.splits()?;
    let splits = if splits.is_empty() { &all } else { splits };
    let mut listings = vec![];
    for split in splits {
        match layout::list(kind, &source.dir, split, true) {
            Ok(listing) => listings.push((split, Ok(listing))),
            // That there is no such split is no fault of the set.
            Err(error) if !all.iter().any(|known| kind.same_split(known, split)) => return Err(error),
            Err(error) => listings.push((split, Err(error))),
        }
    }
    let files = || listings.iter().filter_map(|(_, listing)| listing.as_ref().ok()).flat_map(|listing| &listing.files);
    let last_id = || {
        let last = |path: &PathBuf| {
            // What cannot be read is a fault of its split, below.
            let ids = LabelFile::open(path).and_then(LabelFile::read).unwrap_or_default();
            ids.iter().copied().filter(|id| *id != IGNORE).max()
        };
        let paths: Vec<&PathBuf> = files().filter_map(|files| files.labels.as_ref()).collect();
        Ok(paths.into_par_iter().filter_map(last).max().unwrap_or_default())
    };
    let (labels, note) = names::of_source(source, None, last_id)?;
    let mut checked = vec![];
    for (split, listing) in listings {
        let listing = match listing {
            Ok(listing) => listing,
            Err(error) => {
                checked.push(SplitCheck::failed(split, &error));
                continue;
            }
        };
        let ids = Ids::new(&labels, listing.encoding);
        let faults = listing.faults.iter().map(Error::to_string).collect();
        let (labels, source, split) = (labels.clone(), source.clone(), split.clone());
        let dataset = Dataset { labels, source, split, files: listing.files, ids, note: None };
        checked.push(look_through(&dataset, faults, progress));
    }
    Ok(Check { kind, labels, note, splits: checked })
}

impl Check {
    /// How many faults there are.
    pub fn faults(&self) -> usize {
        self.splits.iter().map(|split| split.faults.len()).sum()
    }
}

impl SplitCheck {
    fn failed(split: &str, error: &Error) -> Self {
        let (split, faults) = (split.to_owned(), vec![error.to_string()]);
        Self { split, images: 0, sizes: vec![], ids: vec![], faults }
    }
}

/// What one pair is like: its size, pixels by id, and what is wrong.
struct Looked {
    size: Option<Size>,
    pixels: [u64; 256],
    fault: Option<Error>,
}

fn look_through(dataset: &Dataset, mut faults: Vec<String>, progress: &(dyn Fn() + Sync)) -> SplitCheck {
    let look = |index: usize| {
        progress();
        dataset.look(index)
    };
    let looked: Vec<Looked> = (0..dataset.len()).into_par_iter().map(look).collect();
    let mut sizes = BTreeMap::<(usize, usize), usize>::new();
    let (mut pixels, mut images) = ([0u64; 256], [0usize; 256]);
    for Looked { size, pixels: of_image, fault } in &looked {
        if let Some(Size { height, width }) = size {
            *sizes.entry((*height, *width)).or_default() += 1;
        }
        for id in 0..256 {
            pixels[id] += of_image[id];
            images[id] += usize::from(of_image[id] > 0);
        }
        faults.extend(fault.as_ref().map(Error::to_string));
    }
    let mut sizes: Vec<SizeCount> =
        sizes.into_iter().map(|((height, width), images)| SizeCount { height, width, images }).collect();
    sizes.sort_by_key(|size| std::cmp::Reverse(size.images));
    let total: u64 = pixels.iter().sum();
    let count = |id: u8| {
        let (pixels, images, class) = (pixels[usize::from(id)], images[usize::from(id)], dataset.ids.get(id));
        let name = match class {
            None => "unknown".into(),
            Some(IGNORE) => "ignored".into(),
            Some(class) => dataset.labels.name(class),
        };
        let share = pixels as f64 / total as f64;
        IdCount { id, class: class.filter(|class| *class != IGNORE), name, images, pixels, share }
    };
    let ids = (0..=u8::MAX).filter(|id| pixels[usize::from(*id)] > 0).map(count).collect();
    SplitCheck { split: dataset.split.clone(), images: dataset.len(), sizes, ids, faults }
}

impl Dataset {
    /// Reads a pair and says what it is like.
    fn look(&self, index: usize) -> Looked {
        let mut pixels = [0; 256];
        match self.read_files(index) {
            Err(fault) => Looked { size: None, pixels, fault: Some(fault) },
            Ok((_, mut labels, path)) => {
                labels.iter().for_each(|id| pixels[usize::from(*id)] += 1);
                let size = Some(Size::new(labels.height() as usize, labels.width() as usize));
                let fault = self.ids.apply(&mut labels).err().map(|unknown| self.unknown(path, unknown));
                Looked { size, pixels, fault }
            }
        }
    }
}
