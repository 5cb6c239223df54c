//! segmentation_models_pytorch's DeepLabV3Plus and DeepLabV3, with its own ResNets and MobileNetV2, or timm's ResNets and
//! Xceptions (`tu-resnet101`, `tu-xception65`).

use candle_deeplab::config::{ConcatOrder, Convolution, DilationStart, ImagePooling, ResNet};

use super::conventions::{CHANGES, Conventions};
use super::family::{Family, Inferred};
use super::layers::Layers;
use super::names::{Naming, Rule, rule};
use super::torch::{inverted_residual, timm_xception};
use super::{timm, torch};
use crate::error::Result;

/// DeepLabV3's head.
macro_rules! v3_head {
    ($aspp:literal, $conv:literal, $norm:literal) => {
        &[
            rule("aspp.branch0", concat!($aspp, ".convs.0.0"), concat!($aspp, ".convs.0.1")),
            rule("aspp.branch{i}.conv", concat!($aspp, ".convs.{i}.0"), concat!($aspp, ".convs.{i}.1")),
            rule("aspp.branch{i}.depthwise", concat!($aspp, ".convs.{i}.0.0"), ""),
            rule("aspp.branch{i}.pointwise", concat!($aspp, ".convs.{i}.0.1"), concat!($aspp, ".convs.{i}.1")),
            rule("aspp.image_pooling.conv", concat!($aspp, ".convs.4.1"), concat!($aspp, ".convs.4.2")),
            rule("aspp.projection", concat!($aspp, ".project.0"), concat!($aspp, ".project.1")),
            rule("aspp.refine.conv", $conv, $norm),
            rule("classifier", "segmentation_head.0", ""),
        ]
    };
}

/// With smp's own encoders.
pub(super) static NATIVE: Family = Family {
    name: "smp",
    naming: Naming::Torch,
    find: |checkpoint| torch::find(checkpoint, &["decoder.aspp.0.convs.0.0.weight"], "encoder"),
    rules: &[torch::RESNET, STEM_AND_HEAD, NO_EXPANSION, BLOCK_1, BLOCKS, HEAD],
    spare: |name| name.starts_with("classification_head.").then_some("classifier of whole pictures"),
    conventions: CONVENTIONS,
    infer: native,
};

const CONVENTIONS: Conventions = Conventions {
    // In ASPP it does not align corners, but what is resized there is one pixel.
    align_corners: true,
    image_pooling: ImagePooling::Last,
    separable: Convolution::PlainSeparable,
    concat: ConcatOrder::AsppFirst,
    head_eps: 1e-5,
    output_stride: 16,
    // `decoder_atrous_rates` is the same at every output stride.
    rates: [[12, 24, 36]; 3],
    multi_grid: [1, 1, 1],
    multi_grid_note: CHANGES,
    headless: false,
};

/// With timm's ResNets.
pub(super) static TIMM_RESNET: Family = Family {
    find: |checkpoint| torch::find(checkpoint, &[TIMM_RESNET_MARKER, "decoder.aspp.0.convs.0.0.weight"], ENCODER),
    infer: timm_resnet,
    ..NATIVE
};

/// With timm's Xceptions, which differ in how many blocks there are and so in what the last ones are called.
pub(super) static XCEPTION_41: Family = Family {
    find: |checkpoint| torch::find(checkpoint, &["encoder.model.blocks_11.shortcut.conv.weight"], ENCODER),
    rules: &[timm_xception!("{backbone}.", "_", "{i+2}", "{i+10}"), HEAD],
    infer: timm::xception,
    ..NATIVE
};
pub(super) static XCEPTION_65: Family = Family {
    find: |checkpoint| torch::find(checkpoint, &["encoder.model.blocks_19.shortcut.conv.weight"], ENCODER),
    rules: &[timm_xception!("{backbone}.", "_", "{i+2}", "{i+18}"), HEAD],
    infer: timm::xception,
    ..NATIVE
};
pub(super) static XCEPTION_71: Family = Family {
    find: |checkpoint| torch::find(checkpoint, &["encoder.model.blocks_21.shortcut.conv.weight"], ENCODER),
    rules: &[timm_xception!("{backbone}.", "_", "{i+4}", "{i+20}"), HEAD],
    infer: timm::xception,
    ..NATIVE
};

/// DeepLabV3, whose default output stride is another.
pub(super) static V3: Family = Family {
    find: |checkpoint| torch::find(checkpoint, &["decoder.aspp.convs.0.0.weight"], "encoder"),
    rules: &[
        torch::RESNET,
        STEM_AND_HEAD,
        NO_EXPANSION,
        BLOCK_1,
        BLOCKS,
        v3_head!("decoder.aspp", "decoder.conv", "decoder.bn"),
    ],
    conventions: Conventions { output_stride: 8, ..CONVENTIONS },
    ..NATIVE
};

/// The same with timm's ResNets.
pub(super) static V3_TIMM_RESNET: Family = Family {
    find: |checkpoint| torch::find(checkpoint, &[TIMM_RESNET_MARKER, "decoder.aspp.convs.0.0.weight"], ENCODER),
    infer: timm_resnet,
    ..V3
};

/// DeepLabV3 of releases before 0.5, where the decoder's modules had numbers.
pub(super) static V3_SEQUENTIAL: Family = Family {
    find: |checkpoint| torch::find(checkpoint, &["decoder.0.convs.0.0.weight"], "encoder"),
    rules: &[
        torch::RESNET,
        STEM_AND_HEAD,
        NO_EXPANSION,
        BLOCK_1,
        BLOCKS,
        v3_head!("decoder.0", "decoder.1", "decoder.2"),
    ],
    ..V3
};

const ENCODER: &str = "encoder.model";
const TIMM_RESNET_MARKER: &str = "encoder.model.layer1.0.conv1.weight";

/// `replace_strides_with_dilation` dilates every convolution of a stage.
fn native(layers: &Layers) -> Result<Inferred> {
    if torch::is_mobilenet_v2(layers) {
        return torch::mobilenet_v2(layers, torch::LIKE_MOBILENET_V2, torch::IMAGENET);
    }
    let like = ResNet { dilation_start: DilationStart::Block, ..torch::LIKE_RESNET };
    torch::resnet(layers, like, torch::IMAGENET)
}

fn timm_resnet(layers: &Layers) -> Result<Inferred> {
    torch::resnet(layers, torch::LIKE_RESNET, torch::IMAGENET)
}

/// torchvision's MobileNetV2, down to the convolution before its classifier.
const STEM_AND_HEAD: &[Rule] = &[
    rule("backbone.stem", "{backbone}.features.0.0", "{backbone}.features.0.1"),
    rule("backbone.head", "{backbone}.features.18.0", "{backbone}.features.18.1"),
];
/// The first block has no expansion; the rule for all blocks would find another of its layers.
const NO_EXPANSION: &[Rule] = &[rule("backbone.block1.expand", "", "")];
const BLOCK_1: &[Rule] = inverted_residual!("block1", "{backbone}.features.1");
const BLOCKS: &[Rule] = inverted_residual!("block{i}", "{backbone}.features.{i}");

const HEAD: &[Rule] = &[
    rule("aspp.branch0", "decoder.aspp.0.convs.0.0", "decoder.aspp.0.convs.0.1"),
    rule("aspp.branch{i}.conv", "decoder.aspp.0.convs.{i}.0", "decoder.aspp.0.convs.{i}.1"),
    rule("aspp.branch{i}.depthwise", "decoder.aspp.0.convs.{i}.0.0", ""),
    rule("aspp.branch{i}.pointwise", "decoder.aspp.0.convs.{i}.0.1", "decoder.aspp.0.convs.{i}.1"),
    rule("aspp.image_pooling.conv", "decoder.aspp.0.convs.4.1", "decoder.aspp.0.convs.4.2"),
    rule("aspp.projection", "decoder.aspp.0.project.0", "decoder.aspp.0.project.1"),
    rule("aspp.refine.depthwise", "decoder.aspp.1.0", ""),
    rule("aspp.refine.pointwise", "decoder.aspp.1.1", "decoder.aspp.2"),
    rule("decoder.low_level", "decoder.block1.0", "decoder.block1.1"),
    rule("decoder.conv1.depthwise", "decoder.block2.0.0", ""),
    rule("decoder.conv1.pointwise", "decoder.block2.0.1", "decoder.block2.1"),
    rule("classifier", "segmentation_head.0", ""),
];
