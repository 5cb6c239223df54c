//! mmsegmentation's DeepLabv3+ (`DepthwiseSeparableASPPHead`) and DeepLabv3 (`ASPPHead`) with ResNetV1c, ResNet or
//! MobileNetV2.

use candle_deeplab::config::{
    ConcatOrder, Convolution, DilationStart, ImagePooling, MobileNetV2, MultiGridRule, ResNet, Unit,
};

use super::conventions::{Conventions, Input, RATES};
use super::family::Family;
use super::names::{Naming, Rule, rule};
use super::torch;
use super::torch::inverted_residual;

/// What only its head is called.
const HEAD_MARKER: &str = "decode_head.image_pool.1.conv.weight";

pub(super) static FAMILY: Family = Family {
    name: "mmseg",
    naming: Naming::Torch,
    find: |checkpoint| torch::find(checkpoint, &[HEAD_MARKER], "backbone"),
    rules: &[DEEP_STEM, torch::RESNET, HEAD],
    spare: |_| None,
    conventions: Conventions {
        align_corners: false,
        image_pooling: ImagePooling::First,
        separable: Convolution::Separable,
        concat: ConcatOrder::AsppFirst,
        head_eps: 1e-5,
        // The published models are `-d8`.
        output_stride: 8,
        rates: RATES,
        multi_grid: [1, 1, 1],
        multi_grid_note: "its d16-mg124 models want `output_stride` 16 and `multi_grid` 1,2,4",
        headless: false,
    },
    infer: |layers| {
        // `contract_dilation`, and a `BasicBlock` whose second convolution is never dilated
        let unit = Unit::Basic { dilate_second: false };
        torch::resnet(layers, ResNet { unit, multi_grid_rule: MultiGridRule::Rates, ..torch::LIKE_RESNET }, INPUT)
    },
};

/// With MobileNetV2, of whose stages only the first blocks dilate (`make_layer`).
pub(super) static MOBILENET_V2: Family = Family {
    find: |checkpoint| {
        let markers = ["backbone.layer7.0.conv.0.conv.weight", HEAD_MARKER];
        torch::find(checkpoint, &markers, "backbone")
    },
    rules: &[
        STEM, BLOCK_1, BLOCK_2, BLOCK_3, BLOCK_4, BLOCK_5, BLOCK_6, BLOCK_7, BLOCK_8, BLOCK_9, BLOCK_10, BLOCK_11,
        BLOCK_12, BLOCK_13, BLOCK_14, BLOCK_15, BLOCK_16, BLOCK_17, HEAD,
    ],
    infer: |layers| {
        let like = MobileNetV2 { dilation_start: DilationStart::FirstUnits, ..torch::LIKE_MOBILENET_V2 };
        torch::mobilenet_v2(layers, like, INPUT)
    },
    ..FAMILY
};

const STEM: &[Rule] = &[rule("backbone.stem", "backbone.conv1.conv", "backbone.conv1.bn")];
const BLOCK_1: &[Rule] = inverted_residual!("block1", "backbone.layer1.0", [
    "depthwise": ".conv.0.conv", ".conv.0.bn"; "project": ".conv.1.conv", ".conv.1.bn"
]);
/// Blocks are numbered within their stage.
macro_rules! block {
    ($ours:literal, $theirs:literal) => {
        inverted_residual!($ours, $theirs, [
            "expand": ".conv.0.conv", ".conv.0.bn"; "depthwise": ".conv.1.conv", ".conv.1.bn";
            "project": ".conv.2.conv", ".conv.2.bn"
        ])
    };
}
const BLOCK_2: &[Rule] = block!("block2", "backbone.layer2.0");
const BLOCK_3: &[Rule] = block!("block3", "backbone.layer2.1");
const BLOCK_4: &[Rule] = block!("block4", "backbone.layer3.0");
const BLOCK_5: &[Rule] = block!("block5", "backbone.layer3.1");
const BLOCK_6: &[Rule] = block!("block6", "backbone.layer3.2");
const BLOCK_7: &[Rule] = block!("block7", "backbone.layer4.0");
const BLOCK_8: &[Rule] = block!("block8", "backbone.layer4.1");
const BLOCK_9: &[Rule] = block!("block9", "backbone.layer4.2");
const BLOCK_10: &[Rule] = block!("block10", "backbone.layer4.3");
const BLOCK_11: &[Rule] = block!("block11", "backbone.layer5.0");
const BLOCK_12: &[Rule] = block!("block12", "backbone.layer5.1");
const BLOCK_13: &[Rule] = block!("block13", "backbone.layer5.2");
const BLOCK_14: &[Rule] = block!("block14", "backbone.layer6.0");
const BLOCK_15: &[Rule] = block!("block15", "backbone.layer6.1");
const BLOCK_16: &[Rule] = block!("block16", "backbone.layer6.2");
const BLOCK_17: &[Rule] = block!("block17", "backbone.layer7.0");

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
    // DeepLabv3's
    rule("aspp.branch{i}.conv", "decode_head.aspp_modules.{i}.conv", "decode_head.aspp_modules.{i}.bn"),
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
