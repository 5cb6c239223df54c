//! What a family's code does and its files do not say.

use candle_deeplab::config::{ConcatOrder, Convolution, ImagePooling};

/// What a family does that its files do not tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conventions {
    /// Corner pixels keep their place when resizing.
    pub(super) align_corners: bool,
    /// The place of image pooling among the branches.
    pub(super) image_pooling: ImagePooling,
    /// How a 3×3 convolution of the head is separated, where it is.
    pub(super) separable: Convolution,
    /// Which comes first in the decoder's concatenation.
    pub(super) concat: ConcatOrder,
    /// Epsilon of the head's batch norms.
    pub(super) head_eps: f64,
    /// The output stride that its models are trained at.
    pub(super) output_stride: usize,
    /// The atrous rates at output stride 8, 16 and 32.
    pub(super) rates: [[usize; 3]; 3],
    /// The multi-grid of its ResNets.
    pub(super) multi_grid: [usize; 3],
    /// What a report adds about it.
    pub(super) multi_grid_note: &'static str,
    /// Whether its files are backbones to start training from.
    pub(super) headless: bool,
}

/// The note where no published model departs from the family's multi-grid.
pub(super) const CHANGES: &str = "`multi_grid` changes it";

/// The usual rates at output stride 8, 16 and 32 (Chen et al. 2017, section 4.1).
pub(super) const RATES: [[usize; 3]; 3] = [[12, 24, 36], [6, 12, 18], [3, 6, 9]];

/// A family's preprocessing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input {
    /// Subtracted from RGB on 0–255.
    pub(super) mean: [f32; 3],
    /// What RGB is then divided by.
    pub(super) std: [f32; 3],
    /// The same in words.
    pub(super) words: &'static str,
    /// The least height and width that a photograph of Cityscapes is padded to.
    pub(super) cityscapes: (usize, usize),
}
