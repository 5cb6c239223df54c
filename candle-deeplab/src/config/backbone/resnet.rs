//! Layouts of ResNet.

use serde::{Deserialize, Serialize};

use super::dilation::DilationStart;

/// The layout of a ResNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNet {
    /// The convolutions before the first pooling.
    pub stem: Stem,
    /// The kind of its units.
    pub unit: Unit,
    /// How the first pooling pads.
    pub pool_padding: PoolPadding,
    /// Which unit of the second to fourth block has stride 2 (TensorFlow: of the first to third).
    pub strided_unit: StridedUnit,
    /// Where a block that dilates instead of striding starts to dilate.
    pub dilation_start: DilationStart,
    /// How the network's multi-grid determines the rates of the last block.
    pub multi_grid_rule: MultiGridRule,
    /// Number of units in each of the four blocks.
    pub units: [u8; 4],
    /// Channels of each block's result; inside a bottleneck, there are a quarter of them.
    pub widths: [usize; 4],
    /// Epsilon of the batch norms (1e-5 in every code base).
    pub batch_norm_eps: f64,
}

/// The convolutions before a ResNet's first pooling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Stem {
    /// One 7×7 convolution of stride 2 (the paper's).
    Single {
        /// Its channels.
        width: usize,
    },
    /// Three 3×3 convolutions, the first of stride 2 (TensorFlow's `_beta`, mmsegmentation's v1c).
    Deep {
        /// Their channels.
        widths: [usize; 3],
    },
}

/// How a ResNet's first pooling (3×3, stride 2) pads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolPadding {
    /// TensorFlow's SAME: even sides are padded only at the bottom and right.
    Same,
    /// One row and column on each side (PyTorch).
    Symmetric,
}

/// Which unit of a ResNet's block has stride 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StridedUnit {
    /// The first (PyTorch).
    First,
    /// The last, of all blocks but the fourth (TensorFlow).
    Last,
}

/// The kind of a ResNet's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Unit {
    /// 1×1, 3×3 and 1×1 convolutions, narrow inside (ResNet-50 and deeper).
    Bottleneck,
    /// Two 3×3 convolutions (ResNet-18 and -34).
    Basic {
        /// Whether the second convolution dilates too, at the rate of the following units (smp, timm); it never does in
        /// mmsegmentation.
        dilate_second: bool,
    },
}

/// How [`Network::multi_grid`](crate::config::Network::multi_grid) determines the rates of a ResNet's last block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MultiGridRule {
    /// Its numbers multiply the rates that the output stride requires (TensorFlow, jfzhang95).
    Factors,
    /// Its numbers are the rates, at every output stride; `[1, 1, 1]` has no effect (mmsegmentation's `d16-mg124`).
    Rates,
}

/// (Name, whether its units are bottlenecks, units of the four blocks).
const VARIANTS: [(&str, bool, [u8; 4]); 5] = [
    ("resnet18", false, [2, 2, 2, 2]),
    ("resnet34", false, [3, 4, 6, 3]),
    ("resnet50", true, [3, 4, 6, 3]),
    ("resnet101", true, [3, 4, 23, 3]),
    ("resnet152", true, [3, 8, 36, 3]),
];

/// The tap of TensorFlow's low-level features: `block1/unit_2/conv3`, after its norm and before the sum.
const LOW_LEVEL: &str = "block1.unit2.conv3";

impl ResNet {
    /// TensorFlow's ResNet-101 with the three-convolution stem (`resnet_v1_101_beta`).
    pub fn resnet101_beta() -> Self {
        Self {
            stem: Stem::Deep { widths: [64, 64, 128] },
            unit: Unit::Bottleneck,
            pool_padding: PoolPadding::Same,
            strided_unit: StridedUnit::Last,
            dilation_start: DilationStart::NextUnit,
            multi_grid_rule: MultiGridRule::Factors,
            units: [3, 4, 23, 3],
            widths: [256, 512, 1024, 2048],
            batch_norm_eps: 1e-5,
        }
    }

    /// PyTorch's ResNet of a variant, `resnet18` to `resnet152`, with the paper's stem (torchvision's `resnet.py`,
    /// dilated as in its DeepLabv3).
    pub fn torchvision(variant: &str) -> Option<Self> {
        let (_, bottlenecks, units) = VARIANTS.into_iter().find(|(name, ..)| *name == variant)?;
        let (unit, widths) = match bottlenecks {
            true => (Unit::Bottleneck, [256, 512, 1024, 2048]),
            false => (Unit::Basic { dilate_second: true }, [64, 128, 256, 512]),
        };
        Some(Self {
            stem: Stem::Single { width: 64 },
            unit,
            pool_padding: PoolPadding::Symmetric,
            strided_unit: StridedUnit::First,
            dilation_start: DilationStart::NextUnit,
            multi_grid_rule: MultiGridRule::Factors,
            units,
            widths,
            batch_norm_eps: 1e-5,
        })
    }

    /// The tap of the low-level features: TensorFlow's, or the first block's result as in the code bases in PyTorch.
    pub fn low_level_tap(&self) -> &'static str {
        match self.strided_unit {
            StridedUnit::Last => LOW_LEVEL,
            StridedUnit::First => "block1",
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        let bottleneck = self.unit == Unit::Bottleneck;
        let same = |(_, of_bottlenecks, units): &&(_, bool, _)| *of_bottlenecks == bottleneck && *units == self.units;
        VARIANTS.iter().find(same).map_or("resnet", |(name, ..)| name)
    }
}
