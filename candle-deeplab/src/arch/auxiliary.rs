//! The auxiliary head (Zhao et al. 2017, section 4).

use super::head::head_conv;
use crate::config::{Auxiliary, Convolution};
use crate::graph::{Builder, Conv, Value};

/// Computes logits at the resolution of the features.
pub(super) fn auxiliary(g: &mut Builder, features: Value, config: &Auxiliary, classes: usize) -> Value {
    let mut x = features;
    for (i, &width) in config.widths.iter().enumerate() {
        x = g.scope(format!("conv{}", i + 1), |g| head_conv(g, x, width, 1, Convolution::Dense));
    }
    g.conv("classifier", x, Conv::pointwise(classes).with_bias())
}

#[cfg(test)]
mod tests {
    use crate::arch::{AUXILIARY, graph};
    use crate::config::{Aspp, Auxiliary, Backbone, Convolution, ImagePooling, Network, Normalization, ResNet};
    use crate::graph::{Graph, Size};

    fn network(auxiliary: Option<Auxiliary>) -> Graph {
        let aspp = Aspp {
            width: 8,
            rates: vec![6],
            image_pooling: ImagePooling::Last,
            convolution: Convolution::Dense,
            projection_kernel: 1,
            refine: None,
            batch_norm_eps: 1e-5,
        };
        let network = Network {
            backbone: Backbone::Resnet(ResNet::resnet101_beta()),
            output_stride: 16,
            multi_grid: [1, 1, 1],
            normalization: Normalization::BatchNorm,
            align_corners: false,
            aspp: Some(aspp),
            decoder: None,
            auxiliary,
            classes: 21,
        };
        graph(&network).unwrap()
    }

    #[test]
    fn it_stands_behind_the_network_and_changes_nothing_in_it() {
        let plain = network(None);
        let with = network(Some(Auxiliary { tap: "block3".into(), widths: vec![256] }));
        assert_eq!(with.nodes()[..plain.nodes().len()], *plain.nodes());
        assert_eq!((with.output(), plain.tap(AUXILIARY).is_err()), (plain.output(), true));
        let logits = with.tap(AUXILIARY).unwrap();
        assert_eq!(with.node(logits).channels, 21);
        assert_eq!(with.sizes(129, 129).unwrap()[logits.index()], Size::new(9, 9));
    }

    #[test]
    fn its_parameters_have_its_name() {
        let graph = network(Some(Auxiliary { tap: "block3".into(), widths: vec![256] }));
        let names: Vec<String> = graph.params().into_iter().map(|param| param.name).collect();
        let own: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("auxiliary.")).collect();
        let norm = ["weight", "bias", "running_mean", "running_var"].map(|part| format!("conv1.conv.bn.{part}"));
        assert_eq!(own[0], "conv1.conv.weight");
        assert_eq!(own[1..5], norm);
        assert_eq!(own[5..], ["classifier.weight", "classifier.bias"]);
    }
}
