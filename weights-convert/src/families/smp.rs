//! segmentation_models_pytorch's DeepLabV3Plus, with its own ResNets or timm's Xceptions (`tu-xception65`).

use candle_deeplab::arch::DilationStart;
use candle_deeplab::config::{Backbone, ConcatOrder, Convolution, ImagePooling};

use super::layers::Layers;
use super::names::{Rule, rule};
use super::network::Habits;
use super::recipe::Input;
use super::{Family, Naming, Plan, backbones, torch};
use crate::error::Result;

/// timm numbers all blocks in one list, so the middle flow's and the exit flow's come with an offset.
macro_rules! xception_rules {
    ($middle:literal, $exit:literal) => {
        &[
            rule("backbone.entry_flow.conv{i}", "{backbone}.stem_{i-1}.conv", "{backbone}.stem_{i-1}.bn"),
            xception_rules!(@sepconv "entry_flow", "{i-1}", "depthwise", "dw"),
            xception_rules!(@sepconv "entry_flow", "{i-1}", "pointwise", "pw"),
            xception_rules!(@shortcut "entry_flow", "{i-1}"),
            xception_rules!(@sepconv "middle_flow", $middle, "depthwise", "dw"),
            xception_rules!(@sepconv "middle_flow", $middle, "pointwise", "pw"),
            // There is none in the middle flow: where there is one, the exit flow begins.
            xception_rules!(@shortcut "middle_flow", $middle),
            xception_rules!(@sepconv "exit_flow", $exit, "depthwise", "dw"),
            xception_rules!(@sepconv "exit_flow", $exit, "pointwise", "pw"),
            xception_rules!(@shortcut "exit_flow", $exit),
        ]
    };
    (@sepconv $flow:literal, $block:literal, $part:literal, $suffix:literal) => {
        rule(
            concat!("backbone.", $flow, ".block{i}.sepconv{j}.", $part),
            concat!("{backbone}.blocks_", $block, ".stack.conv{j}.conv_", $suffix),
            concat!("{backbone}.blocks_", $block, ".stack.conv{j}.bn_", $suffix),
        )
    };
    (@shortcut $flow:literal, $block:literal) => {
        rule(
            concat!("backbone.", $flow, ".block{i}.shortcut"),
            concat!("{backbone}.blocks_", $block, ".shortcut.conv"),
            concat!("{backbone}.blocks_", $block, ".shortcut.bn"),
        )
    };
}

/// With smp's own encoders.
pub(super) static NATIVE: Family = Family {
    name: "smp",
    naming: Naming::Torch,
    find: |checkpoint| torch::find(checkpoint, "decoder.aspp.0.convs.0.0.weight", "encoder"),
    rules: &[torch::RESNET, HEAD],
    habits: Habits {
        // In ASPP it does not align corners, but what is resized there is one pixel.
        align_corners: true,
        image_pooling: ImagePooling::Last,
        separable: Convolution::PlainSeparable,
        concat: ConcatOrder::AsppFirst,
        head_eps: 1e-5,
        output_stride: 16,
        // `decoder_atrous_rates` is the same at every output stride.
        rates: [12, 24, 36],
        rates_scale: false,
        multi_grid: [1, 1, 1],
        published_multi_grid: None,
    },
    plan: |layers| torch::resnet(layers, DilationStart::Block, torch::IMAGENET),
};

/// With timm's Xceptions, which differ in how many blocks there are and so in what the last ones are called.
pub(super) static XCEPTION_41: Family = Family {
    find: |checkpoint| torch::find(checkpoint, "encoder.model.blocks_11.shortcut.conv.weight", ENCODER),
    rules: &[xception_rules!("{i+2}", "{i+10}"), HEAD],
    plan: xception,
    ..NATIVE
};
pub(super) static XCEPTION_65: Family = Family {
    find: |checkpoint| torch::find(checkpoint, "encoder.model.blocks_19.shortcut.conv.weight", ENCODER),
    rules: &[xception_rules!("{i+2}", "{i+18}"), HEAD],
    plan: xception,
    ..NATIVE
};
pub(super) static XCEPTION_71: Family = Family {
    find: |checkpoint| torch::find(checkpoint, "encoder.model.blocks_21.shortcut.conv.weight", ENCODER),
    rules: &[xception_rules!("{i+4}", "{i+20}"), HEAD],
    plan: xception,
    ..NATIVE
};

const ENCODER: &str = "encoder.model";

/// timm's aligned Xception computes what TensorFlow's does; its stride-4 features are taken after a ReLU.
fn xception(layers: &Layers) -> Result<Plan> {
    let backbone = backbones::xception(layers, 1e-3)?;
    let low_level = backbone.low_level_relu_tap();
    let input = Input { mean: [127.5; 3], std: [127.5; 3], words: "RGB / 127.5 − 1", cityscapes: (1, 1) };
    Ok(Plan { backbone: Backbone::Xception(backbone), low_level, input })
}

const HEAD: &[Rule] = &[
    rule("aspp.branch0", "decoder.aspp.0.convs.0.0", "decoder.aspp.0.convs.0.1"),
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
