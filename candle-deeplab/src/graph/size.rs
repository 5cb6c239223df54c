//! Height and width.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A size in pixels, of an image or of a feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// A size of `height` × `width` pixels.
    pub fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }

    /// The size in bytes of `planes` f32 planes of this size.
    pub(crate) fn bytes(self, planes: usize) -> u64 {
        [self.height, self.width, size_of::<f32>()]
            .iter()
            .fold(planes as u64, |bytes, &n| bytes.saturating_mul(n as u64))
    }

    /// The number of pixels.
    pub fn area(self) -> usize {
        self.height * self.width
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.height, self.width)
    }
}
