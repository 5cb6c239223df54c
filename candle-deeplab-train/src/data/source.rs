//! Where a data set is, and in which of the known layouts.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::{self, Kind};
use crate::error::Result;

/// A data set, as a recipe names it.
///
/// ```
/// use candle_deeplab_train::data::{Kind, Source};
///
/// let source: Source = toml::from_str("dir = 'VOC2012'\nkind = 'voc'").unwrap();
/// assert_eq!((source.kind, source.labels), (Some(Kind::Voc), None));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The folder of the data set. A recipe may leave it to whoever uses it.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub dir: PathBuf,
    /// Its layout. Without it, the layout is told by the folders in `dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The classes: one of [`Labels::BUILTIN`](candle_deeplab::Labels::BUILTIN), or a file that
    /// [`Labels::from_file`](candle_deeplab::Labels::from_file) reads. Without it, the layout's own, or those that
    /// [`Dataset::open`](super::Dataset::open) finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
}

fn is_empty(dir: &Path) -> bool {
    dir.as_os_str().is_empty()
}

impl Source {
    /// A data set whose layout and labels are found out.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), kind: None, labels: None }
    }

    /// The layout: the one that is said, or the one that the folders have.
    pub fn layout(&self) -> Kind {
        self.kind.unwrap_or_else(|| Kind::of(&self.dir))
    }

    /// The names of the splits, in the order of the alphabet.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) where the folder does not have the layout.
    pub fn splits(&self) -> Result<Vec<String>> {
        layout::splits(self.layout(), &self.dir)
    }
}
