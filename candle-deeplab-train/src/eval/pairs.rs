//! What an evaluation reads.

use std::path::Path;

use candle_deeplab::Labels;
use image::{GrayImage, Luma};

use crate::data::{Dataset, IGNORE, Pair};
use crate::error::Result;

/// Named images with the right answers: a split of a data set.
pub trait Pairs: Sync {
    /// The classes of the answers.
    fn labels(&self) -> &Labels;

    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of an image: its path below the split's folder, without an extension.
    fn name(&self, index: usize) -> &str;

    /// The name of the file of its label map, without folders and extension, if it is another than the image's.
    fn label_name(&self, _index: usize) -> Option<&str> {
        None
    }

    /// Reads an image and its label map, of the same size, in which [`IGNORE`] is not judged.
    ///
    /// # Errors
    /// Those of the files.
    fn read(&self, index: usize) -> Result<Pair>;

    /// Reads a label map alone.
    ///
    /// # Errors
    /// Those of the file.
    fn read_labels(&self, index: usize) -> Result<GrayImage> {
        Ok(self.read(index)?.labels)
    }

    /// Reads somebody else's label map, numbered as those of the data set.
    ///
    /// # Errors
    /// Those of the file.
    fn read_prediction(&self, path: &Path) -> Result<GrayImage>;
}

impl Pairs for Dataset {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn name(&self, index: usize) -> &str {
        self.name(index)
    }

    fn label_name(&self, index: usize) -> Option<&str> {
        self.labels_path(index)?.file_stem()?.to_str()
    }

    fn read(&self, index: usize) -> Result<Pair> {
        self.read(index)
    }

    fn read_labels(&self, index: usize) -> Result<GrayImage> {
        self.read_labels(index)
    }

    fn read_prediction(&self, path: &Path) -> Result<GrayImage> {
        self.read_ids(path)
    }
}

/// The images of a split without its label maps, such as those of a benchmark's test split: nothing in them is judged.
#[derive(Debug, Clone, Copy)]
pub struct Unlabelled<'a>(pub &'a Dataset);

impl Pairs for Unlabelled<'_> {
    fn labels(&self) -> &Labels {
        &self.0.labels
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self, index: usize) -> &str {
        self.0.name(index)
    }

    fn read(&self, index: usize) -> Result<Pair> {
        let image = self.0.read_image(index)?;
        let labels = GrayImage::from_pixel(image.width(), image.height(), Luma([IGNORE]));
        Ok(Pair { image, labels })
    }

    fn read_prediction(&self, path: &Path) -> Result<GrayImage> {
        self.0.read_ids(path)
    }
}
