//! torchvision's DeepLabv3 (`torchvision/models/segmentation/deeplabv3.py`).

use super::names::{Rule, rule};
use super::network::{Habits, RATES};
use super::{Family, Naming, torch, vainf};

pub(super) static FAMILY: Family = Family {
    name: "torchvision",
    naming: Naming::Torch,
    find: |checkpoint| torch::find(checkpoint, "classifier.0.convs.0.0.weight", "backbone"),
    rules: &[torch::RESNET, HEAD],
    spare: |_| None,
    // Its ResNets always dilate their last two blocks.
    habits: Habits { output_stride: 8, rates: RATES, ..vainf::HABITS },
    plan: |layers| torch::resnet(layers, torch::LIKE_RESNET, torch::IMAGENET),
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
