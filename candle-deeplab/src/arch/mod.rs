//! Network definitions, which turn a [`Network`] config into a [`Graph`].
//!
//! Each definition is written once and reads like a forward pass; the published variants are rows of tables. The paths
//! of scopes name taps and weights.

mod aspp;
mod auxiliary;
mod decoder;
mod head;
mod mobilenet_v2;
mod mobilenet_v3;
mod resnet;
mod stride;
mod xception;

use crate::config::{Aspp, Backbone, Network, OUTPUT_STRIDES};
use crate::error::{Error, Result};
use crate::graph::{Builder, Conv, Graph, Size, Value};

/// The tap of the backbone's features.
pub const BACKBONE: &str = "backbone";
/// The tap of the ASPP's result.
pub const ASPP: &str = "aspp";
/// The tap of the decoder's result, where there is a decoder.
pub const DECODER: &str = "decoder";
/// The tap of the logits at the head's resolution.
pub const LOGITS: &str = "classifier";
/// The tap of the auxiliary head's logits, where there is such a head; [`DeepLab::taps`](crate::DeepLab::taps) computes
/// them.
pub const AUXILIARY: &str = "auxiliary";

/// The greatest atrous rate or multi-grid factor.
const MAX_RATE: usize = 1024;
/// The most decoders, one before the other: a backbone has no more strides.
const MAX_DECODERS: usize = 4;
/// The most atrous branches of an ASPP.
const MAX_BRANCHES: usize = 16;

/// Builds the graph of a network. Its output is the logits at the input's size (see [`LOGITS`] for the head's own
/// resolution), or for a backbone without a head, its features ([`BACKBONE`]).
///
/// # Errors
/// [`Error::Graph`] or [`Error::NoSuchTap`] where the config describes no possible network.
pub fn graph(network: &Network) -> Result<Graph> {
    check_numbers(network)?;
    let (mut g, image) = Builder::new(3, network.normalization);
    let features = g.scope(BACKBONE, |g| match &network.backbone {
        Backbone::Xception(layout) => xception::xception(g, image, layout, network),
        Backbone::MobilenetV2(layout) => mobilenet_v2::mobilenet_v2(g, image, layout, network),
        Backbone::MobilenetV3(layout) => mobilenet_v3::mobilenet_v3(g, image, layout, network),
        Backbone::Resnet(layout) => resnet::resnet(g, image, layout, network),
    });
    let output = match &network.aspp {
        Some(aspp) => head(&mut g, image, features, aspp, network),
        None => features,
    };
    let graph = g.finish(output)?;
    check_output_stride(network, &graph, features)?;
    Ok(graph)
}

fn head(g: &mut Builder, image: Value, features: Value, aspp: &Aspp, network: &Network) -> Value {
    g.batch_norm_eps(aspp.batch_norm_eps);
    let mut x = g.scope(ASPP, |g| aspp::aspp(g, features, aspp, network.align_corners));
    if let Some(config) = &network.decoder {
        x = g.scope(DECODER, |g| decoder::decoder(g, x, config, network.align_corners));
    }
    let logits = g.scope(LOGITS, |g| g.conv("", x, Conv::pointwise(network.classes).with_bias()));
    let full = g.resize(logits, image, network.align_corners);
    if let Some(config) = &network.auxiliary {
        // It comes after the output, which does not depend on it: executors compute only what their answer needs.
        let features = g.tap(&format!("{BACKBONE}.{}", config.tap));
        g.scope(AUXILIARY, |g| auxiliary::auxiliary(g, features, config, network.classes));
    }
    full
}

/// Checks that the backbone's strides reach the output stride exactly: if they skipped or never reached it, the network
/// would silently be another one.
fn check_output_stride(network: &Network, graph: &Graph, features: Value) -> Result<()> {
    const INPUT: usize = 513;
    let Size { height, width } = graph.sizes(INPUT, INPUT)?[features.index()];
    // A stem without padding loses a row.
    let wanted = [INPUT.div_ceil(network.output_stride), INPUT / network.output_stride];
    if height == width && wanted.contains(&height) {
        return Ok(());
    }
    let reason = format!(
        "its strides lead to {height}×{width} features of a {INPUT}×{INPUT} input, not to output stride {}",
        network.output_stride
    );
    Err(Error::Graph { node: BACKBONE.into(), reason })
}

fn check_numbers(network: &Network) -> Result<()> {
    let fail = |node: &str, reason: String| Err(Error::Graph { node: node.into(), reason });
    if !OUTPUT_STRIDES.contains(&network.output_stride) {
        return fail(BACKBONE, format!("output stride {} must be 8, 16 or 32", network.output_stride));
    }
    let rates = network.aspp.iter().flat_map(|aspp| &aspp.rates).chain(&network.multi_grid);
    if let Some(rate) = rates.into_iter().find(|rate| !(1..=MAX_RATE).contains(*rate)) {
        return fail(ASPP, format!("atrous rate {rate} must be between 1 and {MAX_RATE}"));
    }
    let decoders = std::iter::successors(network.decoder.as_ref(), |decoder| decoder.before.as_deref());
    if decoders.count() > MAX_DECODERS {
        return fail(DECODER, format!("it must have at most {MAX_DECODERS} decoders, one before the other"));
    }
    let convolutions = network.auxiliary.as_ref().map_or(0, |auxiliary| auxiliary.widths.len());
    if convolutions > MAX_BRANCHES {
        return fail(AUXILIARY, format!("{convolutions} convolutions; it must have at most {MAX_BRANCHES}"));
    }
    if !network.backbone.has_multi_grid() && network.multi_grid != [1, 1, 1] {
        return fail(BACKBONE, format!("multi-grid {:?}: a MobileNet has none", network.multi_grid));
    }
    if let Backbone::MobilenetV3(layout) = &network.backbone
        && let Some(block) = layout.blocks.iter().find(|block| ![3, 5].contains(&block.kernel))
    {
        return fail(BACKBONE, format!("kernel {} must be 3 or 5", block.kernel));
    }
    let eps = network.aspp.iter().map(|aspp| aspp.batch_norm_eps).chain([network.backbone.batch_norm_eps()]);
    if let Some(eps) = eps.into_iter().find(|eps| !eps.is_finite() || *eps <= 0.0) {
        return fail(BACKBONE, format!("batch norm epsilon {eps} must be positive"));
    }
    match &network.aspp {
        None if network.decoder.is_some() || network.classes > 0 => {
            fail(BACKBONE, "a backbone without an ASPP has no decoder and no classes".into())
        }
        Some(aspp) if aspp.rates.len() > MAX_BRANCHES => {
            fail(ASPP, format!("{} atrous branches; it must have at most {MAX_BRANCHES}", aspp.rates.len()))
        }
        Some(aspp) if ![1, 3].contains(&aspp.projection_kernel) => {
            fail(ASPP, format!("projection kernel {} must be 1 or 3", aspp.projection_kernel))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::graph;
    use crate::config::{Aspp, Backbone, BlockPadding, Decoder, DilationStart, MobileNetV3, Network};
    use crate::graph::{Node, Op, Padding, Size};

    fn mobilenet_v2() -> Network {
        let network = Network::deeplabv3(Backbone::mobilenet_v2(0.5), 21);
        Network { aspp: network.aspp.map(|aspp| Aspp { width: 16, rates: vec![], ..aspp }), ..network }
    }

    #[test]
    fn strides_that_step_over_the_output_stride_are_no_network() {
        assert!(graph(&mobilenet_v2()).is_ok());
        for stride in [3, 100_000, usize::MAX] {
            let mut network = mobilenet_v2();
            let Backbone::MobilenetV2(layout) = &mut network.backbone else { unreachable!() };
            layout.blocks[1].stride = stride;
            let error = graph(&network).unwrap_err().to_string();
            assert!(error.contains("not to output stride 16"), "{error}");
        }
    }

    /// (Padding, dilation) of each depthwise convolution past output stride 8.
    fn depthwise(padding: BlockPadding, dilation_start: DilationStart) -> Vec<(Padding, usize)> {
        let mut network = Network { output_stride: 8, ..mobilenet_v2() };
        let Backbone::MobilenetV2(layout) = &mut network.backbone else { unreachable!() };
        (layout.padding, layout.dilation_start) = (padding, dilation_start);
        let depthwise = |node: &Node| match node.op {
            Op::Conv(conv) if conv.groups > 1 => Some((conv.padding, conv.dilation)),
            _ => None,
        };
        graph(&network).unwrap().nodes().iter().filter_map(depthwise).skip(6).collect()
    }

    /// `network/backbone/mobilenetv2.py` of VainF, `modeling/backbone/mobilenet.py` of jfzhang95.
    #[test]
    fn code_bases_dilate_and_pad_a_mobilenet_in_their_own_ways() {
        let rates =
            |start| depthwise(BlockPadding::Symmetric, start).into_iter().map(|(_, rate)| rate).collect::<Vec<_>>();
        assert_eq!(rates(DilationStart::NextUnit), [1, 2, 2, 2, 2, 2, 2, 2, 4, 4, 4]);
        assert_eq!(rates(DilationStart::Block), [2, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4]);
        assert_eq!(rates(DilationStart::NextStage), [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 4]);
        assert_eq!(rates(DilationStart::FirstUnits), [2, 1, 1, 1, 2, 1, 1, 4, 1, 1, 4]);
        let padded = |padding| depthwise(padding, DilationStart::NextUnit)[10].0;
        assert_eq!(padded(BlockPadding::Symmetric), Padding::Symmetric(4));
        assert_eq!(padded(BlockPadding::BeforeExpansion), Padding::Symmetric(0));
        assert_eq!(padded(BlockPadding::Same), Padding::Same);
    }

    /// The border is the expansion of zeros.
    #[test]
    fn padding_before_the_expansion_is_that_of_a_pointwise_convolution() {
        let mut network = mobilenet_v2();
        let Backbone::MobilenetV2(layout) = &mut network.backbone else { unreachable!() };
        (layout.padding, layout.padded_stem) = (BlockPadding::BeforeExpansion, false);
        let graph = graph(&network).unwrap();
        let sizes = graph.sizes(129, 129).unwrap();
        let size = |tap: &str| sizes[graph.tap(tap).unwrap().index()];
        assert_eq!(size("backbone.stem"), Size::new(64, 64));
        assert_eq!((size("backbone.block2.expand"), size("backbone.block2")), (Size::new(66, 66), Size::new(32, 32)));
        assert_eq!((size("backbone.block16.expand"), size("backbone.block16")), (Size::new(12, 12), Size::new(8, 8)));
    }

    /// "Conv3, then Conv2" of table 2 of the paper.
    #[test]
    fn a_decoder_may_have_one_before_it() {
        let plus = Network::deeplabv3plus(Backbone::mobilenet_v2(0.5), 21);
        let decoder = plus.decoder.clone().unwrap();
        let coarse = Decoder { low_level: "block6".into(), widths: vec![32], ..decoder.clone() };
        let with = |before| Network { decoder: Some(Decoder { before, ..decoder.clone() }), ..plus.clone() };
        let graph = super::graph(&with(Some(Box::new(coarse.clone())))).unwrap();
        let sizes = graph.sizes(129, 129).unwrap();
        let size = |tap: &str| sizes[graph.tap(tap).unwrap().index()];
        assert_eq!((size("decoder.before"), size("decoder")), (Size::new(17, 17), Size::new(33, 33)));
        let endless = (0..9).fold(None, |before, _| Some(Box::new(Decoder { before, ..coarse.clone() })));
        assert!(super::graph(&with(endless)).unwrap_err().to_string().contains("at most 4 decoders"));
    }

    fn mobilenet_v3() -> Network {
        Network { backbone: Backbone::MobilenetV3(MobileNetV3::large()), ..mobilenet_v2() }
    }

    /// `_mobilenet_v3_conf("mobilenet_v3_large", dilated=True)`: the block that would have had a stride already
    /// dilates.
    #[test]
    fn the_last_three_blocks_of_a_mobilenet_v3_dilate() {
        let depthwise = |node: &Node| match node.op {
            Op::Conv(conv) if conv.groups > 1 => Some((conv.kernel, conv.stride, conv.dilation, conv.padding)),
            _ => None,
        };
        let graph = graph(&mobilenet_v3()).unwrap();
        let depthwise: Vec<_> = graph.nodes().iter().filter_map(depthwise).collect();
        assert_eq!(depthwise[3], (5, 2, 1, Padding::Symmetric(2)));
        assert_eq!(depthwise[11], (3, 1, 1, Padding::Symmetric(1)));
        assert_eq!(depthwise[12..], [(5, 1, 2, Padding::Symmetric(4)); 3]);
    }

    #[test]
    fn a_kernel_that_no_mobilenet_v3_has_is_refused() {
        for kernel in [0, 2, 4, usize::MAX] {
            let mut network = mobilenet_v3();
            let Backbone::MobilenetV3(layout) = &mut network.backbone else { unreachable!() };
            layout.blocks[3].kernel = kernel;
            assert!(graph(&network).unwrap_err().to_string().contains("must be 3 or 5"));
        }
    }

    #[test]
    fn a_backbone_without_a_head_ends_in_its_features() {
        let headless = Network { aspp: None, classes: 0, ..mobilenet_v2() };
        let features = graph(&headless).unwrap();
        assert_eq!(features.output(), features.tap(super::BACKBONE).unwrap());
        let of_nothing = Network { classes: 21, ..headless };
        assert!(graph(&of_nothing).unwrap_err().to_string().contains("no decoder and no classes"));
    }

    #[test]
    fn a_multi_grid_that_nothing_would_use_is_refused() {
        let network = Network { multi_grid: [1, 2, 4], ..mobilenet_v2() };
        assert!(graph(&network).unwrap_err().to_string().contains("a MobileNet has none"));
    }
}
