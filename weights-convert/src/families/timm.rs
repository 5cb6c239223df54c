//! timm's backbones, trained on ImageNet: no segmentation networks, but what to start training one from. torchvision's
//! ResNets have the same names and compute the same.

use candle_deeplab::config::{Backbone, ConcatOrder, Convolution, ImagePooling, Xception};

use super::conventions::{CHANGES, Conventions, Input, RATES};
use super::family::{Family, Inferred};
use super::layers::Layers;
use super::names::{Naming, rule};
use super::torch::timm_xception;
use super::{backbones, torch};
use crate::error::Result;

/// The output stride is that of the DeepLab to be trained; the head's conventions are nobody's.
const CONVENTIONS: Conventions = Conventions {
    align_corners: false,
    image_pooling: ImagePooling::Last,
    separable: Convolution::Separable,
    concat: ConcatOrder::AsppFirst,
    head_eps: 1e-5,
    output_stride: 16,
    rates: RATES,
    multi_grid: [1, 1, 1],
    multi_grid_note: CHANGES,
    headless: true,
};

pub(super) static RESNET: Family = Family {
    name: "timm",
    naming: Naming::Torch,
    // Other networks have blocks of these names too, but under a scope of their own.
    find: |checkpoint| torch::find(checkpoint, &["layer4.0.conv2.weight", "conv1.weight"], ""),
    rules: &[torch::RESNET],
    spare,
    conventions: CONVENTIONS,
    infer: |layers| torch::resnet(layers, torch::LIKE_RESNET, torch::IMAGENET),
};

/// The Xceptions differ in how many blocks there are, and so in what the last ones are called.
pub(super) static XCEPTION_41: Family = Family {
    find: |checkpoint| torch::find(checkpoint, &["blocks.11.shortcut.conv.weight"], ""),
    rules: &[timm_xception!("", ".", "{i+2}", "{i+10}")],
    infer: xception,
    ..RESNET
};
pub(super) static XCEPTION_65: Family = Family {
    find: |checkpoint| torch::find(checkpoint, &["blocks.19.shortcut.conv.weight"], ""),
    rules: &[timm_xception!("", ".", "{i+2}", "{i+18}")],
    infer: xception,
    ..RESNET
};
pub(super) static XCEPTION_71: Family = Family {
    find: |checkpoint| torch::find(checkpoint, &["blocks.21.shortcut.conv.weight"], ""),
    rules: &[timm_xception!("", ".", "{i+4}", "{i+20}")],
    infer: xception,
    ..RESNET
};

fn spare(name: &str) -> Option<&'static str> {
    (name.starts_with("fc.") || name.starts_with("head.fc.")).then_some("ImageNet classifier")
}

/// timm's aligned Xception computes what TensorFlow's does; its stride-4 features are taken after a ReLU.
pub(super) fn xception(layers: &Layers) -> Result<Inferred> {
    let backbone = backbones::xception(layers, Xception::xception65())?;
    let low_level = backbone.low_level_relu_tap();
    let input = Input { mean: [127.5; 3], std: [127.5; 3], words: "RGB / 127.5 − 1", cityscapes: (1, 1) };
    Ok(Inferred { backbone: Backbone::Xception(backbone), low_level, input })
}
