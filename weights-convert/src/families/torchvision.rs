//! torchvision's DeepLabv3 (`torchvision/models/segmentation/deeplabv3.py`).

use candle_deeplab::config::{Backbone, MobileNetV3};

use super::conventions::{Conventions, RATES};
use super::family::{Family, Inferred};
use super::names::{Naming, Rule, rule};
use super::{backbones, torch, vainf};

/// What only its head is called.
const MARKER: &str = "classifier.0.convs.0.0.weight";

/// With its ResNets.
pub(super) static FAMILY: Family = Family {
    name: "torchvision",
    naming: Naming::Torch,
    find: |checkpoint| torch::find(checkpoint, &[MARKER], "backbone"),
    rules: &[torch::RESNET, HEAD],
    spare: |_| None,
    // Its ResNets always dilate their last two blocks.
    conventions: Conventions { output_stride: 8, rates: RATES, ..vainf::CONVENTIONS },
    infer: |layers| torch::resnet(layers, torch::LIKE_RESNET, torch::IMAGENET),
};

/// With its MobileNetV3, whose layers have numbers for names.
pub(super) static MOBILENET_V3: Family = Family {
    find: |checkpoint| match checkpoint.has_under("backbone.1.block.") {
        true => torch::find(checkpoint, &[MARKER], "backbone"),
        false => Ok(None),
    },
    rules: &[BACKBONE, SQUEEZED, BLOCKS, HEAD],
    // `_mobilenet_v3_conf(dilated=True)` dilates the last three blocks, and `DeepLabHead` has one set of rates.
    conventions: Conventions { output_stride: 16, rates: [[12, 24, 36]; 3], ..vainf::CONVENTIONS },
    infer: |layers| {
        let backbone = Backbone::MobilenetV3(backbones::mobilenet_v3(layers, MobileNetV3::large())?);
        Ok(Inferred { backbone, low_level: "block3", input: torch::IMAGENET })
    },
    ..FAMILY
};

const HEAD: &[Rule] = &[
    rule("aspp.branch0", "classifier.0.convs.0.0", "classifier.0.convs.0.1"),
    rule("aspp.branch{i}.conv", "classifier.0.convs.{i}.0", "classifier.0.convs.{i}.1"),
    rule("aspp.image_pooling.conv", "classifier.0.convs.4.1", "classifier.0.convs.4.2"),
    rule("aspp.projection", "classifier.0.project.0", "classifier.0.project.1"),
    rule("aspp.refine.conv", "classifier.1", "classifier.2"),
    rule("classifier", "classifier.4", ""),
    rule("auxiliary.conv1.conv", "aux_classifier.0", "aux_classifier.1"),
    rule("auxiliary.classifier", "aux_classifier.4", ""),
];

/// The stem, what follows the blocks, and the first block, which expands nothing.
const BACKBONE: &[Rule] = &[
    rule("backbone.stem", "{backbone}.0.0", "{backbone}.0.1"),
    rule("backbone.head", "{backbone}.16.0", "{backbone}.16.1"),
    rule("backbone.block1.depthwise", "{backbone}.1.block.0.0", "{backbone}.1.block.0.1"),
    rule("backbone.block1.project", "{backbone}.1.block.1.0", "{backbone}.1.block.1.1"),
];

/// Blocks whose projection stands behind squeeze-and-excitation.
macro_rules! squeezed {
    ($($block:literal),+) => {
        &[$(rule(
            concat!("backbone.block", $block, ".project"),
            concat!("{backbone}.", $block, ".block.3.0"),
            concat!("{backbone}.", $block, ".block.3.1"),
        )),+]
    };
}
const SQUEEZED: &[Rule] = squeezed!(4, 5, 6, 11, 12, 13, 14, 15);

const BLOCKS: &[Rule] = &[
    rule("backbone.block{i}.expand", "{backbone}.{i}.block.0.0", "{backbone}.{i}.block.0.1"),
    rule("backbone.block{i}.depthwise", "{backbone}.{i}.block.1.0", "{backbone}.{i}.block.1.1"),
    rule("backbone.block{i}.squeeze.reduce", "{backbone}.{i}.block.2.fc1", ""),
    rule("backbone.block{i}.squeeze.expand", "{backbone}.{i}.block.2.fc2", ""),
    rule("backbone.block{i}.project", "{backbone}.{i}.block.2.0", "{backbone}.{i}.block.2.1"),
];
