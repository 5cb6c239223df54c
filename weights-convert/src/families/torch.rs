//! What the PyTorch families share: module names of ResNets and of the head that torchvision wrote and VainF took over.

use candle_deeplab::config::{
    Backbone, BlockPadding, DilationStart, MobileNetV2, MultiGridRule, PoolPadding, ResNet, Stem, StridedUnit, Unit,
};

use super::backbones;
use super::conventions::Input;
use super::family::{Inferred, Match};
use super::layers::Layers;
use super::names::{Rule, rule};
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

/// Whether a file is of a family: it has all of these tensors. The first is the one that a report names.
pub(super) fn find(checkpoint: &Checkpoint, markers: &[&str], backbone: &'static str) -> Result<Option<Match>> {
    let has_all = markers.iter().all(|marker| checkpoint.info(marker).is_some());
    let marker = markers.first().copied().unwrap_or_default();
    Ok(has_all.then(|| Match { backbone, because: format!("it has `{marker}`") }))
}

/// torchvision's ResNet, without what the file tells. Most code bases dilate as it does.
pub(super) const LIKE_RESNET: ResNet = ResNet {
    stem: Stem::Single { width: 0 },
    unit: Unit::Basic { dilate_second: true },
    pool_padding: PoolPadding::Symmetric,
    strided_unit: StridedUnit::First,
    dilation_start: DilationStart::NextUnit,
    multi_grid_rule: MultiGridRule::Factors,
    units: [0; 4],
    widths: [0; 4],
    batch_norm_eps: 1e-5,
};

/// torchvision's MobileNetV2, without what the file tells. It dilates from the block on that would have strided.
pub(super) const LIKE_MOBILENET_V2: MobileNetV2 = MobileNetV2 {
    stem: 0,
    blocks: Vec::new(),
    head: None,
    padding: BlockPadding::Symmetric,
    padded_stem: true,
    dilation_start: DilationStart::Block,
    batch_norm_eps: 1e-5,
};

/// Whether a file's backbone is a MobileNetV2.
pub(super) fn is_mobilenet_v2(layers: &Layers) -> bool {
    layers.has("backbone.stem")
}

/// A ResNet with low-level features from the end of its first block.
pub(super) fn resnet(layers: &Layers, like: ResNet, input: Input) -> Result<Inferred> {
    if !layers.has("backbone.block1.unit1.conv2") {
        return Err(Error::Unrecognised {
            path: layers.checkpoint.path().to_owned(),
            reason: "its backbone is not one of those that are supported with this family (docs/weights.md)".into(),
        });
    }
    let backbone = Backbone::Resnet(backbones::resnet(layers, like)?);
    Ok(Inferred { backbone, low_level: "block1", input })
}

/// A MobileNetV2 with low-level features from the end of its stage at stride 4.
pub(super) fn mobilenet_v2(layers: &Layers, like: MobileNetV2, input: Input) -> Result<Inferred> {
    let backbone = Backbone::MobilenetV2(backbones::mobilenet_v2(layers, like)?);
    Ok(Inferred { backbone, low_level: "block3", input })
}

/// Rules of a MobileNetV2's block by the names of its three convolutions and norms; its first block has no expansion.
macro_rules! inverted_residual {
    ($ours:literal, $theirs:literal, [$($part:literal: $conv:literal, $norm:literal);+]) => {
        &[$(rule(concat!("backbone.", $ours, ".", $part), concat!($theirs, $conv), concat!($theirs, $norm))),+]
    };
    // torchvision's, and VainF's
    ("block1", $theirs:literal) => {
        inverted_residual!("block1", $theirs, ["depthwise": ".conv.0.0", ".conv.0.1"; "project": ".conv.1", ".conv.2"])
    };
    ($ours:literal, $theirs:literal) => {
        inverted_residual!($ours, $theirs, [
            "expand": ".conv.0.0", ".conv.0.1"; "depthwise": ".conv.1.0", ".conv.1.1"; "project": ".conv.2", ".conv.3"
        ])
    };
}
pub(super) use inverted_residual;

/// timm numbers all of an Xception's blocks in one list, so the middle flow's and the exit flow's come with an offset.
macro_rules! timm_xception {
    ($backbone:literal, $sep:literal, $middle:literal, $exit:literal) => {
        &[
            rule(
                "backbone.entry_flow.conv{i}",
                concat!($backbone, "stem", $sep, "{i-1}.conv"),
                concat!($backbone, "stem", $sep, "{i-1}.bn"),
            ),
            timm_xception!(@sepconv $backbone, $sep, "entry_flow", "{i-1}", "depthwise", "dw"),
            timm_xception!(@sepconv $backbone, $sep, "entry_flow", "{i-1}", "pointwise", "pw"),
            timm_xception!(@shortcut $backbone, $sep, "entry_flow", "{i-1}"),
            timm_xception!(@sepconv $backbone, $sep, "middle_flow", $middle, "depthwise", "dw"),
            timm_xception!(@sepconv $backbone, $sep, "middle_flow", $middle, "pointwise", "pw"),
            // There is none in the middle flow: where there is one, the exit flow begins.
            timm_xception!(@shortcut $backbone, $sep, "middle_flow", $middle),
            timm_xception!(@sepconv $backbone, $sep, "exit_flow", $exit, "depthwise", "dw"),
            timm_xception!(@sepconv $backbone, $sep, "exit_flow", $exit, "pointwise", "pw"),
            timm_xception!(@shortcut $backbone, $sep, "exit_flow", $exit),
        ]
    };
    (@sepconv $backbone:literal, $sep:literal, $flow:literal, $block:literal, $part:literal, $suffix:literal) => {
        rule(
            concat!("backbone.", $flow, ".block{i}.sepconv{j}.", $part),
            concat!($backbone, "blocks", $sep, $block, ".stack.conv{j}.conv_", $suffix),
            concat!($backbone, "blocks", $sep, $block, ".stack.conv{j}.bn_", $suffix),
        )
    };
    (@shortcut $backbone:literal, $sep:literal, $flow:literal, $block:literal) => {
        rule(
            concat!("backbone.", $flow, ".block{i}.shortcut"),
            concat!($backbone, "blocks", $sep, $block, ".shortcut.conv"),
            concat!($backbone, "blocks", $sep, $block, ".shortcut.bn"),
        )
    };
}
pub(super) use timm_xception;
