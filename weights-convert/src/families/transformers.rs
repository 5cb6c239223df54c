//! transformers' `MobileNetV2ForSemanticSegmentation`, as on the Hugging Face Hub.

use candle_deeplab::config::{Backbone, MobileNetV2};

use super::conventions::{Conventions, Input};
use super::family::{Family, Inferred};
use super::names::{Naming, Rule, rule};
use super::{backbones, tf_slim, torch};

pub(super) static FAMILY: Family = Family {
    name: "transformers",
    naming: Naming::Torch,
    find: |checkpoint| torch::find(checkpoint, &["segmentation_head.conv_aspp.convolution.weight"], "mobilenet_v2"),
    rules: &[MOBILENET_V2, HEAD],
    // It is a port of TensorFlow's, down to the head's own epsilon; `output_stride` is that of the published config.json.
    conventions: Conventions { output_stride: 8, ..tf_slim::FAMILY.conventions },
    spare: |name| name.starts_with("mobilenet_v2.conv_1x1.").then_some("ImageNet classifier"),
    infer: |layers| {
        let backbone = Backbone::MobilenetV2(backbones::mobilenet_v2(layers, MobileNetV2::tensorflow(1.0))?);
        Ok(Inferred { backbone, low_level: MobileNetV2::low_level_tap(), input: INPUT })
    },
};

const INPUT: Input = Input { mean: [127.5; 3], std: [127.5; 3], words: "RGB / 127.5 − 1", cityscapes: (1, 1) };

/// A convolution and its norm are modules of one layer.
macro_rules! layer {
    ($ours:literal, $theirs:literal) => {
        rule($ours, concat!($theirs, ".convolution"), concat!($theirs, ".normalization"))
    };
}

/// The first block has no expansion and is part of the stem.
const MOBILENET_V2: &[Rule] = &[
    layer!("backbone.stem", "{backbone}.conv_stem.first_conv"),
    layer!("backbone.block1.depthwise", "{backbone}.conv_stem.conv_3x3"),
    layer!("backbone.block1.project", "{backbone}.conv_stem.reduce_1x1"),
    layer!("backbone.block{i}.expand", "{backbone}.layer.{i-2}.expand_1x1"),
    layer!("backbone.block{i}.depthwise", "{backbone}.layer.{i-2}.conv_3x3"),
    layer!("backbone.block{i}.project", "{backbone}.layer.{i-2}.reduce_1x1"),
];

const HEAD: &[Rule] = &[
    layer!("aspp.image_pooling.conv", "segmentation_head.conv_pool"),
    layer!("aspp.branch0", "segmentation_head.conv_aspp"),
    layer!("aspp.projection", "segmentation_head.conv_projection"),
    layer!("classifier", "segmentation_head.classifier"),
];
