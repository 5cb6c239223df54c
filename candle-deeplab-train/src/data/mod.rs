//! Data sets: images with label maps, in the layouts in which they are published.

mod check;
mod convert;
mod ids;
mod label_file;
mod layout;
mod names;
mod source;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

use candle_deeplab::Labels;
use candle_deeplab::graph::Size;
use candle_deeplab::pixels::Encoded;
use image::{GrayImage, RgbImage};
use rayon::prelude::*;

use crate::error::{Error, Result};
pub use check::{Check, IdCount, SizeCount, SplitCheck, check};
pub use convert::Conversion;
use ids::{Ids, Unknown};
use label_file::LabelFile;
use layout::Files;
pub use layout::Kind;
pub use layout::cityscapes::CITYSCAPES_LABEL_IDS;
pub use names::labels;
pub use source::Source;

/// The value of pixels that are not judged, in all label maps of this crate, whatever the files say.
pub const IGNORE: u8 = 255;

/// A split of a data set.
///
/// ```no_run
/// use candle_deeplab_train::data::{Dataset, Source};
///
/// let train = Dataset::open(&Source::new("camvid"), "train")?;
/// let pair = train.read(0)?;
/// println!("{}: {:?}, {} classes", train.name(0), pair.image.dimensions(), train.labels.names.len());
/// # Ok::<(), candle_deeplab_train::Error>(())
/// ```
#[derive(Debug)]
pub struct Dataset {
    /// The classes. Class `i` has the value `i` in the label maps of [`Dataset::read`].
    pub labels: Labels,
    source: Source,
    split: String,
    files: Vec<Files>,
    ids: Ids,
    note: Option<String>,
}

/// An image and its label map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The image, upright as its EXIF orientation says.
    pub image: RgbImage,
    /// The class of each pixel, or [`IGNORE`]; as large as the image.
    pub labels: GrayImage,
}

impl Dataset {
    /// Opens a split. Files are listed and paired, and not read.
    ///
    /// The classes of a folder are, in this order: [`Source::labels`]; those of `labels.json` or `labels.txt` in it;
    /// those of the builtin set whose name the folder has; the ids in the split's label maps, which are then read.
    /// [`Dataset::note`] says which, unless they were said.
    ///
    /// # Errors
    /// [`Error::Data`] where there is no such split (it names those that there are), or it is empty, or an image has no
    /// label map or a label map no image. The errors of [`Labels::from_file`].
    pub fn open(source: &Source, split: &str) -> Result<Self> {
        Self::new(source, split, None, true)
    }

    /// As [`Dataset::open`], for a model that has these classes: they go before those of a builtin set, if these are as
    /// many, and before numbers. An id beyond them is an error when its file is read.
    ///
    /// # Errors
    /// Those of [`Dataset::open`].
    pub fn open_for(source: &Source, split: &str, model: &Labels) -> Result<Self> {
        Self::new(source, split, Some(model), true)
    }

    /// A split of which only images are wanted, such as VOC's `test`. [`Dataset::read`] fails for all of its samples.
    ///
    /// # Errors
    /// Those of [`Dataset::open`], apart from those about label maps.
    pub fn open_images(source: &Source, split: &str, model: &Labels) -> Result<Self> {
        Self::new(source, split, Some(model), false)
    }

    fn new(source: &Source, split: &str, model: Option<&Labels>, wants_labels: bool) -> Result<Self> {
        let listing = layout::list(source.layout(), &source.dir, split, wants_labels)?;
        let more = listing.faults.len().saturating_sub(1);
        match listing.faults.into_iter().next() {
            Some(Error::Data { path, reason }) if more > 0 => {
                let shown = source.dir.display();
                let more = format!("and {more} more: `candle-deeplab dataset check {shown}` lists them");
                return Err(Error::Data { path, reason: format!("{reason} ({more})") });
            }
            Some(fault) => return Err(fault),
            None => {}
        }
        let (labels, note) = names::of_source(source, model, || last_id(&listing.files))?;
        let ids = Ids::new(&labels, listing.encoding);
        Ok(Self { labels, source: source.clone(), split: split.to_owned(), files: listing.files, ids, note })
    }

    /// How many images it has; never 0.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether it has no images, which [`Dataset::open`] refuses.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The name of the split.
    pub fn split(&self) -> &str {
        &self.split
    }

    /// The classes with [`IGNORE`] as the ignored value, as [`Dataset::read`] has it, for pictures of its label maps.
    pub fn labels_of_maps(&self) -> Labels {
        Labels { ignore: Some(IGNORE), ..self.labels.clone() }
    }

    /// Where the data set is.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// A sentence for the user on where the classes come from, if they were not said.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The name of a sample: its image's path within the split, without the extension, e.g. `frankfurt/frankfurt_000000`.
    ///
    /// # Panics
    /// Where `index` is not below [`Dataset::len`], as slices do.
    pub fn name(&self, index: usize) -> &str {
        &self.files[index].name
    }

    /// The file of a sample's image.
    ///
    /// # Panics
    /// As [`Dataset::name`].
    pub fn image_path(&self, index: usize) -> &Path {
        &self.files[index].image
    }

    /// The file of a sample's label map; `None` in a split of images alone.
    ///
    /// # Panics
    /// As [`Dataset::name`].
    pub fn labels_path(&self, index: usize) -> Option<&Path> {
        self.files[index].labels.as_deref()
    }

    /// Reads an image alone, upright.
    ///
    /// # Errors
    /// [`Error::Model`] where it cannot be read or decoded.
    ///
    /// # Panics
    /// As [`Dataset::name`].
    pub fn read_image(&self, index: usize) -> Result<RgbImage> {
        Ok(Encoded::open(&self.files[index].image)?.into_rgb8()?)
    }

    /// Reads an image and its label map. The image is turned upright as its EXIF orientation says; the label map is taken
    /// as it lies, whatever its metadata say, since it is drawn on the upright image.
    ///
    /// # Errors
    /// [`Error::Model`] and [`Error::Damaged`] where a file cannot be read or decoded; [`Error::Data`] where their sizes
    /// differ, the label map has colours, or an id that is neither a class nor ignored.
    ///
    /// # Panics
    /// As [`Dataset::name`].
    pub fn read(&self, index: usize) -> Result<Pair> {
        let (image, mut labels, path) = self.read_files(index)?;
        self.ids.apply(&mut labels).map_err(|unknown| self.unknown(path, unknown))?;
        Ok(Pair { image, labels })
    }

    /// Reads a label map alone.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    ///
    /// # Panics
    /// As [`Dataset::name`].
    pub fn read_labels(&self, index: usize) -> Result<GrayImage> {
        let Files { image, labels, .. } = &self.files[index];
        let path = labels.as_ref().ok_or_else(|| without_labels(image))?;
        self.read_ids(path)
    }

    /// Reads a label map that does not belong to the data set and is numbered as those that do, such as a prediction.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub fn read_ids(&self, path: &Path) -> Result<GrayImage> {
        let mut labels = LabelFile::open(path)?.read()?;
        self.ids.apply(&mut labels).map_err(|unknown| self.unknown(path, unknown))?;
        Ok(labels)
    }

    /// The image and the values of the label file as they stand there.
    fn read_files(&self, index: usize) -> Result<(RgbImage, GrayImage, &PathBuf)> {
        let Files { image, labels, .. } = &self.files[index];
        let path = labels.as_ref().ok_or_else(|| without_labels(image))?;
        let (encoded, file) = (Encoded::open(image)?, LabelFile::open(path)?);
        same_size(encoded.size(), file.size(), image, path)?;
        let labels = file.read()?;
        Ok((encoded.into_rgb8()?, labels, path))
    }

    fn unknown(&self, path: &Path, Unknown { id, x, y }: Unknown) -> Error {
        let (classes, dataset) = (self.labels.names.len(), &self.labels.dataset);
        let ignored = (0..=u8::MAX).filter(|id| self.ids.get(*id) == Some(IGNORE)).map(|id| id.to_string());
        let ignored = ignored.collect::<Vec<_>>().join(", ");
        Error::data(
            path,
            format!(
                "id {id} at column {x}, row {y} is none of the {classes} classes of `{dataset}` and not ignored (those are \
                 {ignored}): correct the file, or name the classes with `labels`"
            ),
        )
    }
}

fn without_labels(image: &Path) -> Error {
    Error::data(image, "its label map was not asked for: open the split with labels")
}

/// Compares the sizes of an image and of its label map.
fn same_size(image: Size, labels: Size, image_path: &Path, path: &Path) -> Result<()> {
    if image == labels {
        return Ok(());
    }
    let is_turned = (image.height, image.width) == (labels.width, labels.height);
    let way_out = match is_turned {
        true => "the image is turned upright as its EXIF orientation says, and the label map is not: turn it",
        false => "scale or cut one of them",
    };
    let [(w, h), (other_w, other_h)] = [labels, image].map(|size| (size.width, size.height));
    let reason =
        format!("it has {w}×{h} pixels, and its image `{}` has {other_w}×{other_h}: {way_out}", image_path.display());
    Err(Error::data(path, reason))
}

/// The largest id in label maps, [`IGNORE`] left out.
fn last_id(files: &[Files]) -> Result<u8> {
    let last = |files: &Files| match &files.labels {
        Some(path) => Ok(LabelFile::open(path)?.read()?.iter().copied().filter(|id| *id != IGNORE).max()),
        None => Ok(None),
    };
    // The first error in the order of the files, however they are read.
    let found: Vec<Result<Option<u8>>> = files.par_iter().map(last).collect();
    found.into_iter().try_fold(0, |most, id| Ok(most.max(id?.unwrap_or(0))))
}
