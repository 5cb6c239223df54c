//! timm's backbones, trained on ImageNet: no segmentation networks, but what to start training one from. torchvision's
//! ResNets have the same names and compute the same.

use candle_deeplab::config::Xception;
use candle_deeplab::config::{Backbone, ConcatOrder, Convolution, ImagePooling};

use super::layers::Layers;
use super::names::rule;
use super::network::{CHANGES, Habits, RATES};
use super::recipe::Input;
use super::torch::timm_xception;
use super::{Family, Found, Naming, Plan, backbones, torch};
use crate::error::Result;
use crate::read::Checkpoint;

/// The output stride is that of the DeepLab to be trained; the head's habits are nobody's.
const HABITS: Habits = Habits {
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
    find: resnet,
    rules: &[torch::RESNET],
    spare,
    habits: HABITS,
    plan: |layers| torch::resnet(layers, torch::LIKE_RESNET, torch::IMAGENET),
};

/// The Xceptions differ in how many blocks there are, and so in what the last ones are called.
pub(super) static XCEPTION_41: Family = Family {
    find: |checkpoint| torch::find(checkpoint, "blocks.11.shortcut.conv.weight", ""),
    rules: &[timm_xception!("", ".", "{i+2}", "{i+10}")],
    plan: xception,
    ..RESNET
};
pub(super) static XCEPTION_65: Family = Family {
    find: |checkpoint| torch::find(checkpoint, "blocks.19.shortcut.conv.weight", ""),
    rules: &[timm_xception!("", ".", "{i+2}", "{i+18}")],
    plan: xception,
    ..RESNET
};
pub(super) static XCEPTION_71: Family = Family {
    find: |checkpoint| torch::find(checkpoint, "blocks.21.shortcut.conv.weight", ""),
    rules: &[timm_xception!("", ".", "{i+4}", "{i+20}")],
    plan: xception,
    ..RESNET
};

/// Other networks have blocks of these names too, but under a scope of their own.
fn resnet(checkpoint: &Checkpoint) -> Result<Option<Found>> {
    let stem = checkpoint.info("conv1.weight").is_some();
    torch::find(checkpoint, "layer4.0.conv2.weight", "").map(|found| found.filter(|_| stem))
}

fn spare(name: &str) -> Option<&'static str> {
    (name.starts_with("fc.") || name.starts_with("head.fc.")).then_some("ImageNet classifier")
}

/// timm's aligned Xception computes what TensorFlow's does; its stride-4 features are taken after a ReLU.
pub(super) fn xception(layers: &Layers) -> Result<Plan> {
    let backbone = backbones::xception(layers, Xception::xception65())?;
    let low_level = backbone.low_level_relu_tap();
    let input = Input { mean: [127.5; 3], std: [127.5; 3], words: "RGB / 127.5 − 1", cityscapes: (1, 1) };
    Ok(Plan { backbone: Backbone::Xception(backbone), low_level, input })
}
