//! Which nodes become one step, where its result is stored, and when it is computed.

use super::*;
use crate::arch;
use crate::config::{Backbone, Config};
use crate::graph::{Activation, Builder, Conv, Normalization};

/// A network of `layers` between a 3-channel image and 5 classes.
fn fused(layers: impl FnOnce(&mut Builder, Value) -> Value) -> (Graph, Fused) {
    let (mut g, image) = Builder::new(3, Normalization::BatchNorm);
    let x = layers(&mut g, image);
    let logits = g.conv("logits", x, Conv::pointwise(5).with_bias());
    let output = g.resize(logits, image, true);
    let graph = g.finish(output).unwrap();
    let fused = Fused::new(&graph).unwrap();
    (graph, fused)
}

/// Each step as a line: its name, its operation and operands, and where it stores the result.
fn steps(layers: impl FnOnce(&mut Builder, Value) -> Value) -> Vec<String> {
    let (graph, fused) = fused(layers);
    let place = |operand: Operand| match fused.maps[operand.map].channels {
        all if all == operand.channels => operand.map.to_string(),
        _ => format!("{}[{}..{}]", operand.map, operand.offset, operand.offset + operand.channels),
    };
    let line = |step: &Step| {
        let other = step.other.map_or(String::new(), |other| format!(", {}", place(other)));
        let name = &graph.node(step.node).path;
        format!("{name}: {} of {}{other} to {}", step.operation, place(step.input), place(step.output))
    };
    fused.steps.iter().map(line).collect()
}

#[test]
fn a_convolution_takes_in_norm_residual_and_clamp() {
    let layers = |g: &mut Builder, image| {
        let x = g.conv_bn_act("first", image, Conv::dense(8, 3), Activation::Relu6);
        let y = g.conv_bn("second", x, Conv::dense(8, 3));
        let sum = g.add(y, x);
        g.activation(sum, Activation::Relu)
    };
    assert_eq!(
        steps(layers),
        ["first: conv 3×3 of 0 to 1", "second: conv 3×3 of 1, 1 to 2", "logits: conv 1×1 of 2 to 3"]
    );
    let (graph, fused) = fused(layers);
    let convs: Vec<&FusedConv> = fused
        .steps
        .iter()
        .map(|step| match &step.operation {
            Operation::Conv { conv, .. } => conv,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!([convs[0].clamp, convs[1].clamp, convs[2].clamp], [Clamp::RELU6, Clamp::RELU, Clamp::NONE]);
    let norms: Vec<usize> = convs.iter().map(|conv| conv.norms.len()).collect();
    assert_eq!((norms, convs[2].conv.bias), (vec![1, 1, 0], true));
    assert_eq!(graph.node(convs[1].norms[0].0).path, "second.bn");
}

/// What is needed twice is a step of its own; so is an activation that does more than clamp.
#[test]
fn what_others_need_is_not_taken_in() {
    let lines = steps(|g, image| {
        let x = g.conv("first", image, Conv::dense(8, 3));
        let y = g.activation(x, Activation::Relu);
        let z = g.activation(x, Activation::HardSwish);
        let sum = g.add(y, z);
        let gate = g.global_pool(sum);
        g.multiply(sum, gate)
    });
    assert_eq!(
        lines,
        [
            "first: conv 3×3 of 0 to 1",
            "relu: activation of 1 to 2",
            "hard_swish: hard-swish of 1 to 3",
            "add: add of 2, 3 to 4",
            "pool: global pool of 4 to 5",
            "multiply: multiply of 4, 5 to 6",
            "logits: conv 1×1 of 6 to 7"
        ]
    );
}

/// A unit of Xception: its ReLUs are applied where depthwise convolutions read, and its skip sees the values without
/// them.
#[test]
fn a_separable_convolution_is_one_step_with_the_relu_before_it() {
    let layers = |g: &mut Builder, image| {
        let x = g.conv_bn("first", image, Conv::dense(8, 3));
        let y = g.activation(x, Activation::Relu);
        let y = g.conv_bn("depthwise", y, Conv::depthwise(8));
        let y = g.conv_bn("pointwise", y, Conv::pointwise(8));
        g.add(y, x)
    };
    assert_eq!(
        steps(layers),
        ["first: conv 3×3 of 0 to 1", "pointwise: depthwise 3×3 + 1×1 of 1, 1 to 2", "logits: conv 1×1 of 2 to 3"]
    );
    let (_, fused) = fused(layers);
    let Operation::Conv { depthwise: Some(depthwise), .. } = &fused.steps[1].operation else { panic!() };
    assert!(depthwise.relu_input && depthwise.conv.norms.len() == 1);
    assert_eq!(fused.steps[1].operation.macs_per_pixel(), 9 * 8 + 8 * 8);
}

/// A 1×1 convolution with a stride or with groups absorbs no depthwise convolution.
#[test]
fn a_depthwise_convolution_that_no_other_takes_in_is_a_step() {
    let lines = steps(|g, image| {
        let x = g.conv_bn("depthwise", image, Conv::depthwise(3));
        let x = g.conv_bn("strided", x, Conv::pointwise(4).stride(2));
        let x = g.conv_bn_act("other", x, Conv::depthwise(4), Activation::Relu);
        g.conv_bn("grouped", x, Conv { groups: 2, ..Conv::pointwise(8) })
    });
    assert_eq!(
        lines,
        [
            "depthwise: depthwise 3×3 of 0 to 1",
            "strided: conv 1×1 of 1 to 2",
            "other: depthwise 3×3 of 2 to 3",
            "grouped: conv 1×1 of 3 to 4",
            "logits: conv 1×1 of 4 to 5"
        ]
    );
}

#[test]
fn what_only_a_concatenation_needs_is_written_to_its_place() {
    let lines = steps(|g, image| {
        let x = g.conv("first", image, Conv::dense(8, 3));
        let y = g.conv("second", x, Conv::dense(4, 3));
        let pooled = g.global_pool(x);
        let pooled = g.resize(pooled, x, true);
        g.concat(&[y, x, pooled])
    });
    assert_eq!(
        lines,
        [
            "first: conv 3×3 of 0 to 1",
            "second: conv 3×3 of 1 to 2[0..4]",
            "pool: global pool of 1 to 3",
            "resize: resize of 3 to 2[12..20]",
            "concat: copy of 1 to 2[4..12]",
            "logits: conv 1×1 of 2 to 4"
        ]
    );
}

/// A decoder's projection of early features, if it computes few channels from them.
#[test]
fn few_channels_of_early_features_are_made_early() {
    let names = |few| {
        let lines = steps(move |g, image| {
            let features = g.conv("features", image, Conv::dense(24, 3));
            let x = g.conv("deep", features, Conv::dense(24, 3).stride(2));
            let x = g.conv("deeper", x, Conv::dense(16, 3));
            let low_level = g.conv("low_level", features, Conv::pointwise(few));
            let x = g.resize(x, low_level, true);
            g.concat(&[x, low_level])
        });
        lines.iter().map(|line| line.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(12), ["features", "deep", "low_level", "deeper", "resize", "concat", "logits"]);
    assert_eq!(names(13), ["features", "deep", "deeper", "low_level", "resize", "logits"]);
}

/// What the output does not need is not a step, such as an auxiliary head.
#[test]
fn a_value_lives_from_its_step_to_the_last_that_reads_it() {
    let (_, fused) = fused(|g, image| {
        let x = g.conv("first", image, Conv::dense(8, 3));
        let y = g.conv("second", x, Conv::dense(8, 3).stride(2));
        g.conv("auxiliary", y, Conv::pointwise(2));
        let y = g.resize(y, x, true);
        g.multiply(y, x)
    });
    let lives: Vec<(usize, usize)> =
        fused.lives(&[fused.logits.map]).into_iter().map(RangeInclusive::into_inner).collect();
    // Input, first, second, resize, product, logits: five steps.
    assert_eq!(lives, [(0, 0), (0, 3), (1, 2), (2, 3), (3, 4), (4, 5)]);
    assert_eq!((fused.steps.len(), fused.logits.map), (5, 5));
}

#[test]
fn a_network_without_logits_is_refused() {
    let (mut g, image) = Builder::new(3, Normalization::BatchNorm);
    let x = g.conv("features", image, Conv::dense(8, 3));
    let graph = g.finish(x).unwrap();
    let said = Fused::new(&graph).unwrap_err().to_string();
    assert!(said.contains("`features`") && said.contains("must be the resize of its logits"), "{said}");
}

/// Features are read from steps' results, so that they need no second executor.
#[test]
fn backbone_blocks_aspp_and_decoder_are_results_of_steps() {
    let backbones = [
        Backbone::xception65(),
        Backbone::resnet101_beta(),
        Backbone::mobilenet_v2(1.0),
        Backbone::mobilenet_v3_large(),
    ];
    for backbone in backbones {
        let low_level = format!("backbone.{}", backbone.low_level_tap());
        let config = Config::deeplabv3plus(backbone, 21);
        let graph = arch::graph(&config.network).unwrap();
        let fused = Fused::new(&graph).unwrap();
        let is_there = |tap: &str| fused.places[graph.tap(tap).unwrap().index()].is_some();
        for tap in ["backbone", &low_level, "aspp", "decoder"] {
            assert!(is_there(tap), "{tap}");
        }
        let is_block = |tap: &&String| tap.rsplit('.').next().is_some_and(|name| name.starts_with("block"));
        let blocks: Vec<&String> = graph.taps().keys().filter(is_block).collect();
        assert!(blocks.len() > 3, "{blocks:?}");
        for block in blocks {
            assert!(is_there(block), "{block}");
        }
    }
}
