//! VainF/DeepLabV3Plus-Pytorch.

use candle_deeplab::config::{BlockPadding, ConcatOrder, Convolution, DilationStart, ImagePooling, MobileNetV2};

use super::conventions::{CHANGES, Conventions};
use super::family::{Family, Inferred};
use super::layers::Layers;
use super::names::{Naming, Rule, rule};
use super::torch;
use super::torch::inverted_residual;
use crate::error::Result;

/// Its conventions; torchvision's DeepLabv3 is where it comes from.
pub(super) const CONVENTIONS: Conventions = Conventions {
    align_corners: false,
    image_pooling: ImagePooling::Last,
    separable: Convolution::PlainSeparable,
    concat: ConcatOrder::LowLevelFirst,
    head_eps: 1e-5,
    output_stride: 16,
    // `network/modeling.py`: at 8, and everywhere else
    rates: [[12, 24, 36], [6, 12, 18], [6, 12, 18]],
    multi_grid: [1, 1, 1],
    multi_grid_note: CHANGES,
    headless: false,
};

/// DeepLabv3+: `network.DeepLabHeadV3Plus`.
pub(super) static V3_PLUS: Family = Family {
    name: "vainf",
    naming: Naming::Torch,
    find: |checkpoint| torch::find(checkpoint, &["classifier.aspp.convs.0.0.weight"], "backbone"),
    rules: &[torch::RESNET, STEM, BLOCK_1, BLOCK_2, BLOCK_3, BLOCKS, V3_PLUS_HEAD],
    spare: |_| None,
    conventions: CONVENTIONS,
    infer,
};

/// DeepLabv3: `network.DeepLabHead`.
pub(super) static V3: Family = Family {
    find: |checkpoint| torch::find(checkpoint, &["classifier.classifier.0.convs.0.0.weight"], "backbone"),
    rules: &[torch::RESNET, STEM, BLOCK_1, BLOCK_2, BLOCK_3, BLOCKS, V3_HEAD],
    ..V3_PLUS
};

fn infer(layers: &Layers) -> Result<Inferred> {
    if torch::is_mobilenet_v2(layers) {
        let like = MobileNetV2 {
            padding: BlockPadding::BeforeExpansion,
            padded_stem: false,
            // `previous_dilation` in `network/backbone/mobilenetv2.py`
            dilation_start: DilationStart::NextUnit,
            ..torch::LIKE_MOBILENET_V2
        };
        return torch::mobilenet_v2(layers, like, torch::IMAGENET);
    }
    torch::resnet(layers, torch::LIKE_RESNET, torch::IMAGENET)
}

/// torchvision's MobileNetV2, cut in two.
const STEM: &[Rule] =
    &[rule("backbone.stem", "{backbone}.low_level_features.0.0", "{backbone}.low_level_features.0.1")];
const BLOCK_1: &[Rule] = inverted_residual!("block1", "{backbone}.low_level_features.1");
const BLOCK_2: &[Rule] = inverted_residual!("block2", "{backbone}.low_level_features.2");
const BLOCK_3: &[Rule] = inverted_residual!("block3", "{backbone}.low_level_features.3");
const BLOCKS: &[Rule] = inverted_residual!("block{i}", "{backbone}.high_level_features.{i}");

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
