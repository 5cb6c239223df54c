//! Layouts of MobileNetV2.

use serde::{Deserialize, Serialize};

use super::dilation::DilationStart;

/// The layout of a MobileNetV2 as explicit widths, so that any rounding rule is just another config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MobileNetV2 {
    /// Channels of the first convolution, which has stride 2.
    pub stem: usize,
    /// The inverted residuals in order.
    pub blocks: Vec<InvertedResidual>,
    /// Channels of a 1×1 convolution after the last block; `null` where the features are taken before it (all but smp).
    pub head: Option<usize>,
    /// Where a block is padded.
    pub padding: BlockPadding,
    /// Whether the first convolution is padded (in all but VainF, whose stem turns 129×129 into 64×64).
    pub padded_stem: bool,
    /// Where dilation starts, once a stride has been omitted.
    pub dilation_start: DilationStart,
    /// Epsilon of the batch norms (TensorFlow and transformers: 1e-3; PyTorch code bases: 1e-5).
    pub batch_norm_eps: f64,
}

/// Where an inverted residual is padded for its depthwise convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockPadding {
    /// Around the depthwise convolution's input, by TensorFlow's SAME (TensorFlow, transformers).
    Same,
    /// Around the depthwise convolution's input, equally on each side (smp, mmsegmentation).
    Symmetric,
    /// Around the block's input, before it is expanded: the depthwise convolution then sees the expansion of zeros
    /// there, `ReLU6(BN(0))` (VainF, jfzhang95).
    BeforeExpansion,
}

/// An inverted residual: expand, depthwise, project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvertedResidual {
    /// Channels after the expansion; `null` where the block starts with its depthwise convolution.
    pub expansion: Option<usize>,
    /// Channels of its result.
    pub width: usize,
    /// Stride of its depthwise convolution.
    pub stride: usize,
}

/// Width, number of blocks and stride of the first one, stage by stage (the paper's table 2).
const STAGES: [(usize, usize, usize); 7] =
    [(16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)];

/// The expansion factor of every block but the first.
const EXPANSION: f64 = 6.0;

impl MobileNetV2 {
    /// TensorFlow DeepLab's MobileNetV2 with every width multiplied by `depth_multiplier`. Widths are rounded to whole
    /// numbers and expansions to multiples of 8 (`slim/nets/mobilenet/mobilenet.py` as
    /// `deeplab/core/feature_extractor.py` calls it).
    pub fn tensorflow(depth_multiplier: f64) -> Self {
        // At 1 the original rounds widths to multiples of 8, which they already are.
        let scaled = |width: usize| divisible(width as f64 * depth_multiplier, 1.0);
        let stem = scaled(32);
        let mut blocks: Vec<InvertedResidual> = Vec::new();
        for (width, count, stride) in STAGES {
            for i in 0..count {
                let expansion = blocks.last().map(|before| divisible(before.width as f64 * EXPANSION, 8.0));
                blocks.push(InvertedResidual {
                    expansion,
                    width: scaled(width),
                    stride: if i == 0 { stride } else { 1 },
                });
            }
        }
        Self {
            stem,
            blocks,
            head: None,
            padding: BlockPadding::Same,
            padded_stem: true,
            dilation_start: DilationStart::NextUnit,
            batch_norm_eps: 1e-3,
        }
    }

    /// The stride of each block, which a checkpoint does not contain.
    pub fn strides() -> Vec<usize> {
        let stage = |(_, count, stride): (usize, usize, usize)| {
            std::iter::once(stride).chain(std::iter::repeat_n(1, count.saturating_sub(1)))
        };
        STAGES.into_iter().flat_map(stage).collect()
    }

    /// The tap of TensorFlow's low-level features (`layer_4/depthwise_output`).
    pub fn low_level_tap() -> &'static str {
        "block3.depthwise"
    }
}

/// Rounds `value` to a multiple of `divisor`, at least one multiple and never more than a tenth below
/// (`_make_divisible` in `slim/nets/mobilenet/mobilenet.py`).
fn divisible(value: f64, divisor: f64) -> usize {
    let rounded = ((value + divisor / 2.0) / divisor).floor() * divisor;
    let rounded = rounded.max(divisor);
    (if rounded < 0.9 * value { rounded + divisor } else { rounded }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_width_is_the_published_one() {
        let layout = MobileNetV2::tensorflow(0.5);
        let widths: Vec<usize> = layout.blocks.iter().map(|b| b.width).collect();
        assert_eq!(layout.stem, 16);
        assert_eq!(widths, [8, 12, 12, 16, 16, 16, 32, 32, 32, 32, 48, 48, 48, 80, 80, 80, 160]);
        assert_eq!(layout.blocks[0].expansion, None);
        assert_eq!(layout.blocks[1].expansion, Some(48));
        assert_eq!(layout.blocks[16].expansion, Some(480));
    }

    #[test]
    fn full_width_is_the_papers() {
        let layout = MobileNetV2::tensorflow(1.0);
        assert_eq!((layout.stem, layout.blocks[16].width), (32, 320));
        assert_eq!(layout.blocks.iter().map(|b| b.stride).collect::<Vec<_>>(), MobileNetV2::strides());
    }

    #[test]
    fn expansions_round_to_eight() {
        // 1.4 · 32 = 44.8 → 45 channels; 45 · 6 = 270 → 272 inside the next block.
        let layout = MobileNetV2::tensorflow(1.4);
        assert_eq!((layout.blocks[3].width, layout.blocks[4].expansion), (45, Some(272)));
    }
}
