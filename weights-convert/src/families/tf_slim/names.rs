//! From our paths to TF-Slim's scopes.

/// The scope of the classifier.
pub(super) const LOGITS: &str = "logits/semantic";
/// The last part of a dense kernel's name.
pub(super) const KERNEL: &str = "weights";
/// The last part of a depthwise kernel's name.
pub(super) const DEPTHWISE_KERNEL: &str = "depthwise_weights";
/// The last part of a bias's name.
pub(super) const BIAS: &str = "biases";

/// The TF-Slim scope of one of our layers. A batch norm has its convolution's scope; `backbone` is the backbone's own.
pub(super) fn scope(path: &str, backbone: &str) -> String {
    let parts: Vec<&str> = path.strip_suffix(".bn").unwrap_or(path).split('.').collect();
    match parts.as_slice() {
        ["backbone", layer @ ..] => format!("{backbone}/{}", self::backbone(layer)),
        ["aspp", layer @ ..] => aspp(layer),
        ["decoder", "low_level"] => "decoder/feature_projection0".into(),
        ["decoder", conv, part] => format!("decoder/decoder_conv{}_{part}", from_zero(conv, "conv")),
        ["classifier"] => LOGITS.into(),
        other => other.join("/"),
    }
}

fn aspp(layer: &[&str]) -> String {
    match layer {
        ["image_pooling", _] => "image_pooling".into(),
        ["projection"] => "concat_projection".into(),
        [branch, part @ ..] => {
            let index = branch.trim_start_matches("branch");
            std::iter::once(format!("aspp{index}"))
                .chain(part.iter().map(|p| p.to_string()))
                .collect::<Vec<_>>()
                .join("_")
        }
        [] => String::new(),
    }
}

fn backbone(layer: &[&str]) -> String {
    match layer {
        // Xception
        ["entry_flow", conv] => format!("entry_flow/conv1_{}", conv.trim_start_matches("conv")),
        ["middle_flow", block, unit @ ..] => {
            let number = block.trim_start_matches("block");
            format!("middle_flow/block1/unit_{number}/xception_module/{}", xception(unit))
        }
        [flow @ ("entry_flow" | "exit_flow"), block, unit @ ..] => {
            format!("{flow}/{block}/unit_1/xception_module/{}", xception(unit))
        }
        // MobileNetV2
        ["stem"] => "Conv".into(),
        [block, part @ ("expand" | "depthwise" | "project")] => match from_zero(block, "block") {
            0 => format!("expanded_conv/{part}"),
            number => format!("expanded_conv_{number}/{part}"),
        },
        // ResNet
        ["conv1", conv] => format!("conv1_{}", conv.trim_start_matches("conv")),
        [block, unit, conv] => {
            format!("{block}/unit_{}/bottleneck_v1/{conv}", unit.trim_start_matches("unit"))
        }
        other => other.join("/"),
    }
}

fn xception(unit: &[&str]) -> String {
    match unit {
        [sepconv, part] => format!("separable_conv{}_{part}", sepconv.trim_start_matches("sepconv")),
        other => other.join("/"),
    }
}

/// Our numbers start at one, some of TensorFlow's at zero.
fn from_zero(part: &str, prefix: &str) -> usize {
    part.trim_start_matches(prefix).parse().map_or(0, |number: usize| number.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::scope;

    #[test]
    fn layers_have_their_scopes() {
        for (ours, backbone, theirs) in [
            ("backbone.entry_flow.conv2", "xception_65", "xception_65/entry_flow/conv1_2"),
            (
                "backbone.entry_flow.block1.sepconv3.depthwise.bn",
                "xception_65",
                "xception_65/entry_flow/block1/unit_1/xception_module/separable_conv3_depthwise",
            ),
            (
                "backbone.middle_flow.block16.sepconv1.pointwise",
                "xception_71",
                "xception_71/middle_flow/block1/unit_16/xception_module/separable_conv1_pointwise",
            ),
            (
                "backbone.exit_flow.block1.shortcut.bn",
                "xception_41",
                "xception_41/exit_flow/block1/unit_1/xception_module/shortcut",
            ),
            ("backbone.stem.bn", "MobilenetV2", "MobilenetV2/Conv"),
            ("backbone.block1.depthwise", "MobilenetV2", "MobilenetV2/expanded_conv/depthwise"),
            ("backbone.block17.project", "MobilenetV2", "MobilenetV2/expanded_conv_16/project"),
            ("backbone.conv1", "resnet_v1_50", "resnet_v1_50/conv1"),
            ("backbone.conv1.conv3", "resnet_v1_101", "resnet_v1_101/conv1_3"),
            ("backbone.block3.unit23.conv2", "resnet_v1_101", "resnet_v1_101/block3/unit_23/bottleneck_v1/conv2"),
            ("aspp.image_pooling.conv", "x", "image_pooling"),
            ("aspp.branch0.bn", "x", "aspp0"),
            ("aspp.branch2.pointwise.bn", "x", "aspp2_pointwise"),
            ("aspp.projection", "x", "concat_projection"),
            ("decoder.low_level.bn", "x", "decoder/feature_projection0"),
            ("decoder.conv2.depthwise", "x", "decoder/decoder_conv1_depthwise"),
            ("classifier", "x", "logits/semantic"),
        ] {
            assert_eq!(scope(ours, backbone), theirs);
        }
    }
}
