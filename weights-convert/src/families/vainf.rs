//! VainF/DeepLabV3Plus-Pytorch.

use candle_deeplab::arch::DilationStart;
use candle_deeplab::config::{ConcatOrder, Convolution, ImagePooling};

use super::names::{Rule, rule};
use super::network::Habits;
use super::{Family, Naming, torch};

/// Its habits; torchvision's DeepLabv3 is where it comes from.
pub(super) const HABITS: Habits = Habits {
    align_corners: false,
    image_pooling: ImagePooling::Last,
    separable: Convolution::PlainSeparable,
    concat: ConcatOrder::LowLevelFirst,
    head_eps: 1e-5,
    output_stride: 16,
    rates: [6, 12, 18],
    rates_scale: true,
    multi_grid: [1, 1, 1],
    published_multi_grid: None,
};

/// DeepLabv3+: `network.DeepLabHeadV3Plus`.
pub(super) static V3_PLUS: Family = Family {
    name: "vainf",
    naming: Naming::Torch,
    find: |checkpoint| torch::find(checkpoint, "classifier.aspp.convs.0.0.weight", "backbone"),
    rules: &[torch::RESNET, V3_PLUS_HEAD],
    habits: HABITS,
    plan: |layers| torch::resnet(layers, DilationStart::NextUnit, torch::IMAGENET),
};

/// DeepLabv3: `network.DeepLabHead`.
pub(super) static V3: Family = Family {
    find: |checkpoint| torch::find(checkpoint, "classifier.classifier.0.convs.0.0.weight", "backbone"),
    rules: &[torch::RESNET, V3_HEAD],
    ..V3_PLUS
};

const V3_PLUS_HEAD: &[Rule] = &[
    rule("aspp.branch0", "classifier.aspp.convs.0.0", "classifier.aspp.convs.0.1"),
    rule("aspp.branch{i}.conv", "classifier.aspp.convs.{i}.0", "classifier.aspp.convs.{i}.1"),
    rule("aspp.branch{i}.depthwise", "classifier.aspp.convs.{i}.0.body.0", ""),
    rule("aspp.branch{i}.pointwise", "classifier.aspp.convs.{i}.0.body.1", "classifier.aspp.convs.{i}.1"),
    rule("aspp.image_pooling.conv", "classifier.aspp.convs.4.1", "classifier.aspp.convs.4.2"),
    rule("aspp.projection", "classifier.aspp.project.0", "classifier.aspp.project.1"),
    rule("decoder.low_level", "classifier.project.0", "classifier.project.1"),
    rule("decoder.conv1.conv", "classifier.classifier.0", "classifier.classifier.1"),
    rule("decoder.conv1.depthwise", "classifier.classifier.0.body.0", ""),
    rule("decoder.conv1.pointwise", "classifier.classifier.0.body.1", "classifier.classifier.1"),
    rule("classifier", "classifier.classifier.3", ""),
];

const V3_HEAD: &[Rule] = &[
    rule("aspp.branch0", "classifier.classifier.0.convs.0.0", "classifier.classifier.0.convs.0.1"),
    rule("aspp.branch{i}.conv", "classifier.classifier.0.convs.{i}.0", "classifier.classifier.0.convs.{i}.1"),
    rule("aspp.branch{i}.depthwise", "classifier.classifier.0.convs.{i}.0.body.0", ""),
    rule(
        "aspp.branch{i}.pointwise",
        "classifier.classifier.0.convs.{i}.0.body.1",
        "classifier.classifier.0.convs.{i}.1",
    ),
    rule("aspp.image_pooling.conv", "classifier.classifier.0.convs.4.1", "classifier.classifier.0.convs.4.2"),
    rule("aspp.projection", "classifier.classifier.0.project.0", "classifier.classifier.0.project.1"),
    rule("aspp.refine.conv", "classifier.classifier.1", "classifier.classifier.2"),
    rule("aspp.refine.depthwise", "classifier.classifier.1.body.0", ""),
    rule("aspp.refine.pointwise", "classifier.classifier.1.body.1", "classifier.classifier.2"),
    rule("classifier", "classifier.classifier.4", ""),
];
