//! jfzhang95/pytorch-deeplab-xception, with its ResNet.

use candle_deeplab::arch::DilationStart;
use candle_deeplab::config::{ConcatOrder, Convolution, ImagePooling};

use super::names::{Rule, rule};
use super::network::Habits;
use super::{Family, Naming, torch};

pub(super) static FAMILY: Family = Family {
    name: "jfzhang",
    naming: Naming::Torch,
    find: |checkpoint| torch::find(checkpoint, "aspp.aspp1.atrous_conv.weight", "backbone"),
    rules: &[torch::RESNET, HEAD],
    habits: Habits {
        align_corners: true,
        image_pooling: ImagePooling::Last,
        separable: Convolution::Separable,
        concat: ConcatOrder::AsppFirst,
        head_eps: 1e-5,
        output_stride: 16,
        rates: [6, 12, 18],
        rates_scale: true,
        // `blocks` in `modeling/backbone/resnet.py`
        multi_grid: [1, 2, 4],
        published_multi_grid: None,
    },
    plan: |layers| torch::resnet(layers, DilationStart::Block, torch::IMAGENET),
};

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
