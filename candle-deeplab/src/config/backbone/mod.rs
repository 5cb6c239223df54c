//! The backbones: how code bases differ in them, and the published variants.

mod dilation;
mod mobilenet_v2;
mod mobilenet_v3;
mod resnet;
mod xception;

use serde::{Deserialize, Serialize};

pub use dilation::DilationStart;
pub use mobilenet_v2::{BlockPadding, InvertedResidual, MobileNetV2};
pub use mobilenet_v3::{MobileNetV3, SqueezedResidual};
pub use resnet::{MultiGridRule, PoolPadding, ResNet, Stem, StridedUnit, Unit};
pub use xception::{EntryBlock, Xception};

/// The feature extractor and its variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Backbone {
    /// Modified aligned Xception (Chen et al. 2018, figure 4).
    Xception(Xception),
    /// MobileNetV2 (Sandler et al. 2018).
    MobilenetV2(MobileNetV2),
    /// MobileNetV3 (Howard et al. 2019).
    MobilenetV3(MobileNetV3),
    /// ResNet (He et al. 2015).
    Resnet(ResNet),
}

impl Backbone {
    /// The name of a published variant, e.g. `xception65`; otherwise that of the family.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Xception(layout) => layout.name(),
            Self::MobilenetV2(_) => "mobilenet_v2",
            Self::MobilenetV3(layout) => layout.name(),
            Self::Resnet(layout) => layout.name(),
        }
    }

    /// Epsilon of its batch norms.
    pub fn batch_norm_eps(&self) -> f64 {
        match self {
            Self::Xception(layout) => layout.batch_norm_eps,
            Self::MobilenetV2(layout) => layout.batch_norm_eps,
            Self::MobilenetV3(layout) => layout.batch_norm_eps,
            Self::Resnet(layout) => layout.batch_norm_eps,
        }
    }

    /// Whether a multi-grid applies to its last block.
    pub fn has_multi_grid(&self) -> bool {
        matches!(self, Self::Xception(_) | Self::Resnet(_))
    }
}
