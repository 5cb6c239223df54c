//! segmentation_models_pytorch's DeepLabV3Plus, with its own ResNets.

use candle_deeplab::arch::DilationStart;
use candle_deeplab::config::{ConcatOrder, Convolution, ImagePooling};

use super::names::{Rule, rule};
use super::network::Habits;
use super::{Family, Naming, torch};

pub(super) static FAMILY: Family = Family {
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
