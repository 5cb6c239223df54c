//! Where dilation starts when strides would lead past the output stride.

use serde::{Deserialize, Serialize};

/// Where dilation starts, once a stride has been omitted to keep the output stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DilationStart {
    /// At the unit after the one that would have strided, which keeps the rate so far (TensorFlow, torchvision's ResNets,
    /// VainF, mmsegmentation's ResNets, timm).
    NextUnit,
    /// At the unit that would have strided (jfzhang95's ResNet, smp).
    Block,
    /// At the next stage: all units up to there keep the rate so far (jfzhang95's MobileNetV2).
    NextStage,
    /// At the unit that would have strided, but of each stage only the first unit dilates (mmsegmentation's MobileNetV2).
    FirstUnits,
}
