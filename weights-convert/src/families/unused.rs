//! Variables that a file is expected to hold and a network for inference has no use for.

use std::collections::BTreeMap;

use crate::read::Checkpoint;

/// The variables of a file that no parameter comes from: those that are known, by what they are, and the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unused {
    /// What training or another task left behind, by kind.
    pub left_out: BTreeMap<&'static str, Vec<String>>,
    /// What no rule knows.
    pub unexpected: Vec<String>,
}

impl Unused {
    /// Sorts the variables that are not `used`; `spare` knows those of the family.
    pub(super) fn of(
        checkpoint: &Checkpoint,
        used: impl Fn(&str) -> bool,
        spare: fn(&str) -> Option<&'static str>,
    ) -> Self {
        let mut unused = Self::default();
        for (name, _) in checkpoint.tensors().filter(|(name, info)| info.variable && !used(name)) {
            match spare(name).or_else(|| kind(checkpoint, name)) {
                Some(kind) => unused.left_out.entry(kind).or_default().push(name.to_owned()),
                None => unused.unexpected.push(name.to_owned()),
            }
        }
        unused
    }
}

const AUXILIARY_HEAD: &str = "auxiliary head";

/// What names begin with, and what they are then.
const PREFIXES: [(&str, &str); 13] = [
    // A Lightning module's loss, whose weights of classes are buffers
    ("criterion.", TRAINING),
    ("loss.", TRAINING),
    ("loss_fn.", TRAINING),
    // torchvision, mmsegmentation
    ("aux_classifier.", AUXILIARY_HEAD),
    ("auxiliary_head.", AUXILIARY_HEAD),
    ("MobilenetV2/Conv_1/", IMAGENET),
    ("MobilenetV2/Logits/", IMAGENET),
    ("resnet_v1_50/logits/", IMAGENET),
    ("resnet_v1_101/logits/", IMAGENET),
    ("xception_41/logits/", IMAGENET),
    ("xception_65/logits/", IMAGENET),
    ("xception_71/logits/", IMAGENET),
    // mmcv's EMAHook
    ("ema_", "averaged weights"),
];
const IMAGENET: &str = "ImageNet classifier";

/// What names end in. The first is PyTorch's, the next two thop's profiler's, the rest are the ranges of TensorFlow's
/// `contrib.quantize`.
const SUFFIXES: [(&str, &str); 8] = [
    (".num_batches_tracked", TRAINING),
    ("total_ops", "profiler's counts"),
    ("total_params", "profiler's counts"),
    ("_quant/min", "ranges of activations and weights"),
    ("_quant/max", "ranges of activations and weights"),
    ("_quant/min/biased", "ranges of activations and weights"),
    ("_quant/max/biased", "ranges of activations and weights"),
    ("_quant/local_step", "ranges of activations and weights"),
];
const TRAINING: &str = "training state";

/// Variables of their own: TensorFlow's step and Adam's powers, and how often PyTorch's and mmengine's averages were
/// updated.
const NAMES: [&str; 5] = ["global_step", "beta1_power", "beta2_power", "n_averaged", "steps"];

/// The names of the slots that TensorFlow keeps for a variable.
const SLOTS: [(&str, &str); 9] = [
    ("Momentum", "optimizer slots"),
    ("Adam", "optimizer slots"),
    ("Adam_1", "optimizer slots"),
    ("RMSProp", "optimizer slots"),
    ("RMSProp_1", "optimizer slots"),
    ("Adagrad", "optimizer slots"),
    ("Ftrl", "optimizer slots"),
    ("Ftrl_1", "optimizer slots"),
    ("ExponentialMovingAverage", "averaged weights"),
];

/// What a variable is that a network for inference has no use for, e.g. an optimizer's slot of another variable.
fn kind(checkpoint: &Checkpoint, name: &str) -> Option<&'static str> {
    if NAMES.contains(&name) {
        return Some(TRAINING);
    }
    // smp's example of a Lightning module
    if ["mean", "std"].contains(&name) {
        return Some("pixels' mean and deviation");
    }
    let prefix = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
    if let Some((_, kind)) = prefix.or_else(|| SUFFIXES.iter().find(|(suffix, _)| name.ends_with(suffix))) {
        return Some(kind);
    }
    let (owner, slot) = name.rsplit_once('/')?;
    let (_, kind) = SLOTS.iter().find(|(known, _)| *known == slot)?;
    checkpoint.info(owner).is_some().then_some(*kind)
}
