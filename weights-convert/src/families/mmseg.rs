//! mmsegmentation's DeepLabv3+ (`DepthwiseSeparableASPPHead`) with ResNetV1c or ResNet.

use candle_deeplab::arch::DilationStart;
use candle_deeplab::config::{ConcatOrder, Convolution, ImagePooling};

use super::names::{Rule, rule};
use super::network::Habits;
use super::recipe::Input;
use super::{Family, Naming, torch};

pub(super) static FAMILY: Family = Family {
    name: "mmseg",
    naming: Naming::Torch,
    find: |checkpoint| torch::find(checkpoint, "decode_head.c1_bottleneck.conv.weight", "backbone"),
    rules: &[DEEP_STEM, torch::RESNET, HEAD],
    habits: Habits {
        align_corners: false,
        image_pooling: ImagePooling::First,
        separable: Convolution::Separable,
        concat: ConcatOrder::AsppFirst,
        head_eps: 1e-5,
        // The published models are `-d8`.
        output_stride: 8,
        rates: [12, 24, 36],
        rates_scale: true,
        multi_grid: [1, 1, 1],
        published_multi_grid: None,
    },
    plan: |layers| torch::resnet(layers, DilationStart::NextUnit, INPUT),
};

const INPUT: Input = Input {
    mean: [123.675, 116.28, 103.53],
    std: [58.395, 57.12, 57.375],
    words: "(RGB − (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)",
    cityscapes: (1, 1),
};

/// ResNetV1c's three convolutions.
const DEEP_STEM: &[Rule] = &[
    rule("backbone.conv1.conv1", "backbone.stem.0", "backbone.stem.1"),
    rule("backbone.conv1.conv2", "backbone.stem.3", "backbone.stem.4"),
    rule("backbone.conv1.conv3", "backbone.stem.6", "backbone.stem.7"),
];

const HEAD: &[Rule] = &[
    rule("aspp.branch0", "decode_head.aspp_modules.0.conv", "decode_head.aspp_modules.0.bn"),
    rule(
        "aspp.branch{i}.{part}",
        "decode_head.aspp_modules.{i}.{part}_conv.conv",
        "decode_head.aspp_modules.{i}.{part}_conv.bn",
    ),
    rule("aspp.image_pooling.conv", "decode_head.image_pool.1.conv", "decode_head.image_pool.1.bn"),
    rule("aspp.projection", "decode_head.bottleneck.conv", "decode_head.bottleneck.bn"),
    rule("decoder.low_level", "decode_head.c1_bottleneck.conv", "decode_head.c1_bottleneck.bn"),
    rule(
        "decoder.conv{i}.{part}",
        "decode_head.sep_bottleneck.{i-1}.{part}_conv.conv",
        "decode_head.sep_bottleneck.{i-1}.{part}_conv.bn",
    ),
    rule("classifier", "decode_head.conv_seg", ""),
    rule("auxiliary.conv{i}.conv", "auxiliary_head.convs.{i-1}.conv", "auxiliary_head.convs.{i-1}.bn"),
    rule("auxiliary.classifier", "auxiliary_head.conv_seg", ""),
];
