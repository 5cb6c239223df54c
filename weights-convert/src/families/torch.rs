//! What the PyTorch families share: module names of ResNets and of the head that torchvision wrote and VainF took over.

use candle_deeplab::arch::{DilationStart, PoolPadding, ResNet, Stem, StridedUnit};
use candle_deeplab::config::Backbone;

use super::layers::Layers;
use super::names::{Rule, rule};
use super::recipe::Input;
use super::{Found, Plan, backbones};
use crate::error::{Error, Result};
use crate::read::Checkpoint;

/// torchvision's ResNet, and everybody's since.
pub(super) const RESNET: &[Rule] = &[
    rule("backbone.conv1", "{backbone}.conv1", "{backbone}.bn1"),
    rule("backbone.block{b}.unit{u}.conv{c}", "{backbone}.layer{b}.{u-1}.conv{c}", "{backbone}.layer{b}.{u-1}.bn{c}"),
    rule(
        "backbone.block{b}.unit{u}.shortcut",
        "{backbone}.layer{b}.{u-1}.downsample.0",
        "{backbone}.layer{b}.{u-1}.downsample.1",
    ),
];

/// Pixels in [0, 1], by ImageNet's mean and standard deviation.
pub(super) const IMAGENET: Input = Input {
    mean: [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0],
    std: [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0],
    words: "ImageNet mean and standard deviation",
    cityscapes: (1, 1),
};

/// A file of a family, where it has one tensor that only this family has.
pub(super) fn find(checkpoint: &Checkpoint, marker: &str, backbone: &'static str) -> Result<Option<Found>> {
    let found = || Found { backbone, because: format!("it has `{marker}`") };
    Ok(checkpoint.info(marker).is_some().then(found))
}

/// A ResNet with low-level features from the end of its first block.
pub(super) fn resnet(layers: &Layers, dilation_start: DilationStart, input: Input) -> Result<Plan> {
    if !layers.has("backbone.block1.unit1.conv3") {
        return Err(Error::Unrecognised {
            path: layers.checkpoint.path().to_owned(),
            reason: "its backbone is not a ResNet with bottlenecks, the only one of this family supported yet".into(),
        });
    }
    let like = ResNet {
        stem: Stem::Single { width: 0 },
        pool_padding: PoolPadding::Symmetric,
        strided_unit: StridedUnit::First,
        dilation_start,
        units: [0; 4],
        widths: [0; 4],
        batch_norm_eps: 1e-5,
    };
    let backbone = Backbone::Resnet(backbones::resnet(layers, like)?);
    Ok(Plan { backbone, low_level: "block1", input })
}
