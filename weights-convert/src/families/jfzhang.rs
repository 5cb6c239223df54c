//! jfzhang95/pytorch-deeplab-xception, with its ResNet, Xception and MobileNetV2.

use candle_deeplab::config::{
    Backbone, BlockPadding, ConcatOrder, Convolution, DilationStart, ImagePooling, MobileNetV2, ResNet, Xception,
};

use super::conventions::{CHANGES, Conventions, RATES};
use super::family::{Family, Inferred};
use super::layers::Layers;
use super::names::{Naming, Rule, rule};
use super::torch::inverted_residual;
use super::{backbones, torch};
use crate::error::Result;

pub(super) static FAMILY: Family = Family {
    name: "jfzhang",
    naming: Naming::Torch,
    find: |checkpoint| torch::find(checkpoint, &["aspp.aspp1.atrous_conv.weight"], "backbone"),
    rules: &[
        torch::RESNET,
        XCEPTION,
        ENTRY_1,
        ENTRY_2,
        ENTRY_3,
        MIDDLE,
        EXIT_1,
        STEM,
        BLOCK_1,
        BLOCK_2,
        BLOCK_3,
        BLOCKS,
        HEAD,
    ],
    // MobileNetV2 is in its files twice, and what is loaded last are the two parts.
    spare: |name| name.starts_with("backbone.features.").then_some("used layers' second names"),
    conventions: Conventions {
        align_corners: true,
        image_pooling: ImagePooling::Last,
        separable: Convolution::Separable,
        concat: ConcatOrder::AsppFirst,
        head_eps: 1e-5,
        output_stride: 16,
        rates: RATES,
        // `blocks` in `modeling/backbone/resnet.py`
        multi_grid: [1, 2, 4],
        multi_grid_note: CHANGES,
        headless: false,
    },
    infer,
};

fn infer(layers: &Layers) -> Result<Inferred> {
    if torch::is_mobilenet_v2(layers) {
        let like = MobileNetV2 {
            padding: BlockPadding::BeforeExpansion,
            dilation_start: DilationStart::NextStage,
            ..torch::LIKE_MOBILENET_V2
        };
        return torch::mobilenet_v2(layers, like, torch::IMAGENET);
    }
    if layers.has("backbone.entry_flow.block1.shortcut") {
        let like = Xception {
            in_place_relu: true,
            exit_depthwise_relu: false,
            dilate_strided: false,
            batch_norm_eps: 1e-5,
            ..Xception::xception65()
        };
        let backbone = Backbone::Xception(backbones::xception(layers, like)?);
        return Ok(Inferred { backbone, low_level: Xception::low_level_in_place_tap(), input: torch::IMAGENET });
    }
    let like = ResNet { dilation_start: DilationStart::Block, ..torch::LIKE_RESNET };
    torch::resnet(layers, like, torch::IMAGENET)
}

/// One of Xception's blocks; the modules of its list are numbered, and a ReLU at its start counts.
macro_rules! block {
    ($ours:literal, $theirs:literal, [$($sepconv:literal: $conv:literal, $norm:literal);+]) => {
        &[
            rule(concat!("backbone.", $ours, ".shortcut"), concat!($theirs, ".skip"), concat!($theirs, ".skipbn")),
            $(
                rule(
                    concat!("backbone.", $ours, ".", $sepconv, ".depthwise"),
                    concat!($theirs, ".rep.", $conv, ".conv1"),
                    concat!($theirs, ".rep.", $conv, ".bn"),
                ),
                rule(
                    concat!("backbone.", $ours, ".", $sepconv, ".pointwise"),
                    concat!($theirs, ".rep.", $conv, ".pointwise"),
                    concat!($theirs, ".rep.", $norm),
                )
            ),+
        ]
    };
    ($ours:literal, $theirs:literal) => {
        block!($ours, $theirs, ["sepconv1": "0", "1"; "sepconv2": "3", "4"; "sepconv3": "6", "7"])
    };
    (relu $ours:literal, $theirs:literal) => {
        block!($ours, $theirs, ["sepconv1": "1", "2"; "sepconv2": "4", "5"; "sepconv3": "7", "8"])
    };
}

const XCEPTION: &[Rule] = &[
    rule("backbone.entry_flow.conv{i}", "{backbone}.conv{i}", "{backbone}.bn{i}"),
    rule("backbone.exit_flow.block2.sepconv{j}.depthwise", "{backbone}.conv{j+2}.conv1", "{backbone}.conv{j+2}.bn"),
    rule("backbone.exit_flow.block2.sepconv{j}.pointwise", "{backbone}.conv{j+2}.pointwise", "{backbone}.bn{j+2}"),
];
const ENTRY_1: &[Rule] = block!("entry_flow.block1", "{backbone}.block1");
const ENTRY_2: &[Rule] = block!("entry_flow.block2", "{backbone}.block2");
/// Those of the entry flow that are not there, too: where there is a skip, the entry flow goes on.
const ENTRY_3: &[Rule] = block!(relu "entry_flow.block{i}", "{backbone}.block{i}");
const MIDDLE: &[Rule] = block!(relu "middle_flow.block{i}", "{backbone}.block{i+3}");
const EXIT_1: &[Rule] = block!(relu "exit_flow.block1", "{backbone}.block20");

const STEM: &[Rule] =
    &[rule("backbone.stem", "{backbone}.low_level_features.0.0", "{backbone}.low_level_features.0.1")];
const BLOCK_1: &[Rule] = inverted_residual!(
    "block1", "{backbone}.low_level_features.1", ["depthwise": ".conv.0", ".conv.1"; "project": ".conv.3", ".conv.4"]
);
/// Its blocks are flat lists of modules.
macro_rules! flat {
    ($ours:literal, $theirs:literal) => {
        inverted_residual!($ours, $theirs, [
            "expand": ".conv.0", ".conv.1"; "depthwise": ".conv.3", ".conv.4"; "project": ".conv.6", ".conv.7"
        ])
    };
}
const BLOCK_2: &[Rule] = flat!("block2", "{backbone}.low_level_features.2");
const BLOCK_3: &[Rule] = flat!("block3", "{backbone}.low_level_features.3");
const BLOCKS: &[Rule] = flat!("block{i}", "{backbone}.high_level_features.{i}");

const HEAD: &[Rule] = &[
    rule("aspp.branch0", "aspp.aspp1.atrous_conv", "aspp.aspp1.bn"),
    rule("aspp.branch1.conv", "aspp.aspp2.atrous_conv", "aspp.aspp2.bn"),
    rule("aspp.branch2.conv", "aspp.aspp3.atrous_conv", "aspp.aspp3.bn"),
    rule("aspp.branch3.conv", "aspp.aspp4.atrous_conv", "aspp.aspp4.bn"),
    rule("aspp.image_pooling.conv", "aspp.global_avg_pool.1", "aspp.global_avg_pool.2"),
    rule("aspp.projection", "aspp.conv1", "aspp.bn1"),
    rule("decoder.low_level", "decoder.conv1", "decoder.bn1"),
    rule("decoder.conv1.conv", "decoder.last_conv.0", "decoder.last_conv.1"),
    rule("decoder.conv2.conv", "decoder.last_conv.4", "decoder.last_conv.5"),
    rule("classifier", "decoder.last_conv.8", ""),
];
