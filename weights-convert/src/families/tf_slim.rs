//! TensorFlow DeepLab (`tensorflow/models`, `research/deeplab`), which builds on TF-Slim's variable scopes: V2
//! checkpoints, frozen graphs and TFLite files of Xception, MobileNetV2 and ResNet v1 networks.

use candle_deeplab::config::{Backbone, ConcatOrder, Convolution, ImagePooling, MobileNetV2, ResNet, Stem, Xception};

use super::backbones;
use super::conventions::{Conventions, Input, RATES};
use super::family::{Family, Inferred, Match};
use super::layers::Layers;
use super::names::{Naming, Rule, scope};
use crate::error::{Error, Result};
use crate::read::Checkpoint;

pub(super) static FAMILY: Family = Family {
    name: "tf_slim",
    naming: Naming::Slim,
    find,
    rules: &[HEAD, XCEPTION, MOBILENET_V2, RESNET],
    conventions: Conventions {
        align_corners: true,
        image_pooling: ImagePooling::First,
        separable: Convolution::Separable,
        concat: ConcatOrder::AsppFirst,
        // `batch_norm_params` in `deeplab/model.py`
        head_eps: 1e-5,
        // the default of `--output_stride` in `deeplab/common.py`, and the published models' rates there
        output_stride: 16,
        rates: RATES,
        multi_grid: [1, 1, 1],
        multi_grid_note: "its published models want `multi_grid` 1,2,4",
        headless: false,
    },
    spare: |_| None,
    infer,
};

const LOGITS: &str = "logits/semantic";

const HEAD: &[Rule] = &[
    scope("aspp.image_pooling.conv", "image_pooling"),
    scope("aspp.branch{i}", "aspp{i}"),
    scope("aspp.branch{i}.{part}", "aspp{i}_{part}"),
    scope("aspp.projection", "concat_projection"),
    scope("decoder.low_level", "decoder/feature_projection0"),
    scope("decoder.conv{i}.{part}", "decoder/decoder_conv{i-1}_{part}"),
    scope("classifier", LOGITS),
];

const XCEPTION: &[Rule] = &[
    scope("backbone.entry_flow.conv{i}", "{backbone}/entry_flow/conv1_{i}"),
    scope(
        "backbone.middle_flow.block{i}.sepconv{j}.{part}",
        "{backbone}/middle_flow/block1/unit_{i}/xception_module/separable_conv{j}_{part}",
    ),
    scope(
        "backbone.{flow}.block{i}.sepconv{j}.{part}",
        "{backbone}/{flow}/block{i}/unit_1/xception_module/separable_conv{j}_{part}",
    ),
    scope("backbone.{flow}.block{i}.shortcut", "{backbone}/{flow}/block{i}/unit_1/xception_module/shortcut"),
];

const MOBILENET_V2: &[Rule] = &[
    scope("backbone.stem", "{backbone}/Conv"),
    scope("backbone.block1.{part}", "{backbone}/expanded_conv/{part}"),
    scope("backbone.block{i}.{part}", "{backbone}/expanded_conv_{i-1}/{part}"),
];

const RESNET: &[Rule] = &[
    scope("backbone.conv1", "{backbone}/conv1"),
    scope("backbone.conv1.conv{i}", "{backbone}/conv1_{i}"),
    scope("backbone.block{b}.unit{u}.{conv}", "{backbone}/block{b}/unit_{u}/bottleneck_v1/{conv}"),
];

fn find(checkpoint: &Checkpoint) -> Result<Option<Match>> {
    const BACKBONES: [&str; 6] =
        ["xception_41", "xception_65", "xception_71", "MobilenetV2", "resnet_v1_50", "resnet_v1_101"];
    let has_scope = |scope: &str| checkpoint.has_under(&format!("{scope}/"));
    let refuse = |reason: String| Err(Error::Unrecognised { path: checkpoint.path().to_owned(), reason });
    if has_scope("MobilenetV3") {
        return refuse("it is a MobileNetV3, which is not supported yet".into());
    }
    let Some(backbone) = BACKBONES.into_iter().find(|scope| has_scope(scope)) else { return Ok(None) };
    if has_scope("meta_architecture") {
        return refuse("it has a dense prediction cell instead of an ASPP, which is not supported yet".into());
    }
    if !has_scope(LOGITS) {
        return refuse(format!(
            "it has the backbone `{backbone}` but no `{LOGITS}`: a backbone to start training from, not a segmentation network"
        ));
    }
    Ok(Some(Match { backbone, because: format!("variables under `{backbone}/` and `{LOGITS}/`") }))
}

/// `deeplab/core/feature_extractor.py`: every backbone scales to [−1, 1] but the plain ResNets, which subtract a mean.
fn infer(layers: &Layers) -> Result<Inferred> {
    const CITYSCAPES: (usize, usize) = (1025, 2049);
    let symmetric = Input { mean: [127.5; 3], std: [127.5; 3], words: "RGB / 127.5 − 1", cityscapes: CITYSCAPES };
    Ok(match layers.backbone {
        "MobilenetV2" => Inferred {
            backbone: Backbone::MobilenetV2(backbones::mobilenet_v2(layers, MobileNetV2::tensorflow(1.0))?),
            low_level: MobileNetV2::low_level_tap(),
            input: symmetric,
        },
        scope if scope.starts_with("resnet") => {
            let backbone = backbones::resnet(layers, ResNet::resnet101_beta())?;
            let input = match backbone.stem {
                Stem::Deep { .. } => symmetric,
                Stem::Single { .. } => Input {
                    mean: [123.15, 115.90, 103.06],
                    std: [1.0; 3],
                    words: "RGB − (123.15, 115.90, 103.06)",
                    ..symmetric
                },
            };
            Inferred { low_level: backbone.low_level_tap(), backbone: Backbone::Resnet(backbone), input }
        }
        _ => {
            let backbone = backbones::xception(layers, Xception::xception65())?;
            let low_level = backbone.low_level_tap();
            Inferred { backbone: Backbone::Xception(backbone), low_level, input: symmetric }
        }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn layers_have_their_scopes() {
        for (ours, backbone, theirs) in [
            ("backbone.entry_flow.conv2", "xception_65", "xception_65/entry_flow/conv1_2"),
            (
                "backbone.entry_flow.block1.sepconv3.depthwise",
                "xception_65",
                "xception_65/entry_flow/block1/unit_1/xception_module/separable_conv3_depthwise",
            ),
            (
                "backbone.middle_flow.block16.sepconv1.pointwise",
                "xception_71",
                "xception_71/middle_flow/block1/unit_16/xception_module/separable_conv1_pointwise",
            ),
            (
                "backbone.exit_flow.block1.shortcut",
                "xception_41",
                "xception_41/exit_flow/block1/unit_1/xception_module/shortcut",
            ),
            ("backbone.stem", "MobilenetV2", "MobilenetV2/Conv"),
            ("backbone.block1.depthwise", "MobilenetV2", "MobilenetV2/expanded_conv/depthwise"),
            ("backbone.block17.project", "MobilenetV2", "MobilenetV2/expanded_conv_16/project"),
            ("backbone.conv1", "resnet_v1_50", "resnet_v1_50/conv1"),
            ("backbone.conv1.conv3", "resnet_v1_101", "resnet_v1_101/conv1_3"),
            ("backbone.block3.unit23.conv2", "resnet_v1_101", "resnet_v1_101/block3/unit_23/bottleneck_v1/conv2"),
            ("aspp.image_pooling.conv", "x", "image_pooling"),
            ("aspp.branch0", "x", "aspp0"),
            ("aspp.branch2.pointwise", "x", "aspp2_pointwise"),
            ("aspp.projection", "x", "concat_projection"),
            ("decoder.low_level", "x", "decoder/feature_projection0"),
            ("decoder.conv2.depthwise", "x", "decoder/decoder_conv1_depthwise"),
            ("classifier", "x", "logits/semantic"),
        ] {
            let found = super::FAMILY.rules.iter().copied().flatten().find_map(|rule| rule.apply(ours, backbone));
            assert_eq!(found.map(|(conv, _)| conv).as_deref(), Some(theirs));
        }
    }
}
