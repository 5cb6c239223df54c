//! Layouts of Xception.

use serde::{Deserialize, Serialize};

/// The layout of an Xception: widths and strides of its blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xception {
    /// Channels of the two 3×3 convolutions at the start; the first has stride 2.
    pub stem: [usize; 2],
    /// The entry flow's blocks; the last one's width is also the middle flow's.
    pub entry: Vec<EntryBlock>,
    /// Number of blocks in the middle flow (16; Xception-41 has 8).
    pub middle_blocks: u8,
    /// Channels of the separable convolutions in the two exit blocks.
    pub exit: [[usize; 3]; 2],
    /// Whether a unit's first ReLU overwrites the unit's input, so that its skip sees no negative values either
    /// (jfzhang95).
    pub in_place_relu: bool,
    /// Whether the separable convolutions of the last exit block have a ReLU after their depthwise part too (all but
    /// jfzhang95).
    pub exit_depthwise_relu: bool,
    /// Whether the third convolution of the first exit block, which would have had a stride, dilates like the two
    /// before it (in all but jfzhang95, where it stays at rate 1, which matters at output stride 8).
    pub dilate_strided: bool,
    /// Epsilon of the batch norms (TensorFlow and timm: 1e-3; jfzhang95: 1e-5).
    pub batch_norm_eps: f64,
}

/// A block of the entry flow: three separable convolutions of one width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryBlock {
    /// Channels of its result.
    pub width: usize,
    /// Stride of its third convolution and its shortcut.
    pub stride: usize,
}

/// (Name, widths and strides of the entry flow, blocks of the middle flow).
type Row = (&'static str, &'static [(usize, usize)], u8);

const VARIANTS: [Row; 3] = [
    ("xception41", &[(128, 2), (256, 2), (728, 2)], 8),
    ("xception65", &[(128, 2), (256, 2), (728, 2)], 16),
    ("xception71", &[(128, 2), (256, 1), (256, 2), (728, 1), (728, 2)], 16),
];

impl Xception {
    /// The 41-layer variant.
    pub fn xception41() -> Self {
        Self::of(VARIANTS[0])
    }

    /// The 65-layer variant, the paper's.
    pub fn xception65() -> Self {
        Self::of(VARIANTS[1])
    }

    /// The 71-layer variant of the Cityscapes models (its entry flow has five blocks).
    pub fn xception71() -> Self {
        Self::of(VARIANTS[2])
    }

    fn of((_, entry, middle_blocks): Row) -> Self {
        Self {
            stem: [32, 64],
            entry: entry.iter().map(|&(width, stride)| EntryBlock { width, stride }).collect(),
            middle_blocks,
            exit: [[728, 1024, 1024], [1536, 1536, 2048]],
            in_place_relu: false,
            exit_depthwise_relu: true,
            dilate_strided: true,
            batch_norm_eps: 1e-3,
        }
    }

    /// The strides of the published entry flow with this number of blocks, which a checkpoint does not contain.
    pub fn entry_strides(blocks: usize) -> Option<Vec<usize>> {
        let row = VARIANTS.iter().find(|(_, entry, _)| entry.len() == blocks);
        row.map(|(_, entry, _)| entry.iter().map(|&(_, stride)| stride).collect())
    }

    /// The tap of TensorFlow's low-level features: the second convolution of the block that ends at stride 4 or,
    /// in Xception-71, of the first block after it that is wide enough (`slim/nets/xception.py`, `feature_extractor.py`).
    pub fn low_level_tap(&self) -> &'static str {
        if self.entry.len() > 3 { "entry_flow.block3.sepconv2" } else { "entry_flow.block2.sepconv2" }
    }

    /// The tap of timm's features at stride 4: the same features after the next convolution's ReLU
    /// (`timm/models/xception_aligned.py`).
    pub fn low_level_relu_tap(&self) -> &'static str {
        if self.entry.len() > 3 { "entry_flow.block3.sepconv3.relu" } else { "entry_flow.block2.sepconv3.relu" }
    }

    /// The tap of jfzhang95's low-level features: the ReLU of the first block (`modeling/backbone/xception.py`).
    pub fn low_level_in_place_tap() -> &'static str {
        "entry_flow.block2.relu"
    }

    /// The published variant with this depth, or plain `xception`.
    pub(crate) fn name(&self) -> &'static str {
        let same = |(_, entry, middle): &&Row| entry.len() == self.entry.len() && *middle == self.middle_blocks;
        VARIANTS.iter().find(same).map_or("xception", |(name, ..)| name)
    }
}
