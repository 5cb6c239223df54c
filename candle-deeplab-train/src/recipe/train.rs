//! `[train]`, `[validate]` and `[checkpoints]`: how a run goes.

use serde::{Deserialize, Serialize};

/// How the network is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// The split of the data set.
    pub split: String,
    /// Which batch norms are trained.
    pub batch_norm: BatchNorm,
    /// The weight of a batch's statistics in the running ones: 0.1 in PyTorch, 0.0003 in TensorFlow's DeepLab.
    pub batch_norm_momentum: f64,
    /// Parameters that are not trained: those whose names begin with one of these paths, e.g. `backbone`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// The probability of dropping an element of the ASPP's result: 0.1 in TensorFlow, 0.5 in torchvision.
    pub dropout: f64,
    /// The probability of dropping a whole channel before the classifier: 0.1 in mmsegmentation.
    pub channel_dropout: f64,
    /// The weight of the auxiliary head's loss (0.4 in torchvision and mmsegmentation).
    pub auxiliary_weight: f64,
}

/// Which batch norms are trained. Those that are not use their stored statistics, and keep their γ and β.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchNorm {
    /// All, with batch statistics (paper, section 4: at output stride 16).
    #[default]
    Trained,
    /// None (paper, section 4: afterwards at output stride 8).
    Frozen,
    /// Those of the head; the backbone's are frozen.
    FrozenBackbone,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            split: "train".into(),
            batch_norm: BatchNorm::Trained,
            batch_norm_momentum: 0.1,
            freeze: vec![],
            dropout: 0.1,
            channel_dropout: 0.0,
            auxiliary_weight: 0.4,
        }
    }
}

/// How the network is validated on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Validate {
    /// The split of the data set; an empty name means no validation.
    pub split: String,
    /// Steps from one validation to the next. The last step of the schedule is validated, too.
    pub every: usize,
    /// Images that are judged, from the first; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// Training stops after so many validations without a better mIoU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// How many predictions are kept as pictures each time.
    pub pictures: usize,
}

impl Default for Validate {
    fn default() -> Self {
        Self { split: "val".into(), every: 1000, images: None, patience: None, pictures: 2 }
    }
}

/// When checkpoints are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointRule {
    /// Steps from one checkpoint to the next. The step at which a run ends always has one.
    pub every: usize,
    /// How many of the last ones are kept, beside the best.
    pub keep: usize,
}

impl Default for CheckpointRule {
    fn default() -> Self {
        Self { every: 500, keep: 2 }
    }
}
