//! Layouts of MobileNetV3.

use serde::{Deserialize, Serialize};

/// The layout of a MobileNetV3 as explicit widths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MobileNetV3 {
    /// Channels of the first convolution, which has stride 2 and hard-swish.
    pub stem: usize,
    /// The blocks in order.
    pub blocks: Vec<SqueezedResidual>,
    /// Channels of the 1×1 convolution after the last block, with hard-swish.
    pub head: usize,
    /// Epsilon of the batch norms (torchvision: 1e-3).
    pub batch_norm_eps: f64,
}

/// An inverted residual with squeeze-and-excitation: expand, depthwise, weight the channels, project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqueezedResidual {
    /// Side of the depthwise kernel: 3 or 5.
    pub kernel: usize,
    /// Channels after the expansion; `null` where the block starts with its depthwise convolution.
    pub expansion: Option<usize>,
    /// Channels that squeeze-and-excitation squeezes to; `null` where there is none.
    pub squeeze: Option<usize>,
    /// Channels of its result.
    pub width: usize,
    /// Stride of its depthwise convolution.
    pub stride: usize,
    /// Whether its activations are hard-swish; they are ReLU otherwise.
    pub hard_swish: bool,
}

/// Kernel, channels after the expansion, channels out, squeeze-and-excitation, hard-swish and stride of each block (the
/// paper's table 1).
const LARGE: [(usize, usize, usize, bool, bool, usize); 15] = [
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];

impl MobileNetV3 {
    /// MobileNetV3-Large.
    pub fn large() -> Self {
        let mut input = 16;
        let mut blocks = Vec::new();
        for (kernel, inside, width, squeezed, hard_swish, stride) in LARGE {
            // A block that does not widen its input has no expanding convolution.
            let expansion = (inside != input).then_some(inside);
            let squeeze = squeezed.then(|| squeezed_width(inside));
            blocks.push(SqueezedResidual { kernel, expansion, squeeze, width, stride, hard_swish });
            input = width;
        }
        Self { stem: 16, blocks, head: 960, batch_norm_eps: 1e-3 }
    }

    /// The tap of the features at stride 8 that torchvision's auxiliary head reads.
    pub fn auxiliary_tap() -> &'static str {
        "block4"
    }

    pub(super) fn name(&self) -> &'static str {
        if *self == Self::large() { "mobilenet_v3_large" } else { "mobilenet_v3" }
    }
}

/// A quarter of the channels, as a multiple of 8 that is not more than a tenth below (`_make_divisible`).
fn squeezed_width(channels: usize) -> usize {
    let quarter = channels / 4;
    let rounded = ((quarter + 4) / 8 * 8).max(8);
    if rounded * 10 < quarter * 9 { rounded + 8 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `fc1` of each block in torchvision's `mobilenet_v3_large`.
    #[test]
    fn squeezed_widths_are_torchvisions() {
        let squeezes: Vec<usize> = MobileNetV3::large().blocks.iter().filter_map(|block| block.squeeze).collect();
        assert_eq!(squeezes, [24, 32, 32, 120, 168, 168, 240, 240]);
        assert_eq!((squeezed_width(16), squeezed_width(72)), (8, 24));
    }

    #[test]
    fn the_first_block_alone_has_no_expansion() {
        let expansions = MobileNetV3::large().blocks.into_iter().map(|block| block.expansion);
        assert!(expansions.enumerate().all(|(i, expansion)| expansion.is_none() == (i == 0)));
    }
}
