//! The networks of the papers, as a base for custom ones.

use super::{
    Aspp, Backbone, ConcatOrder, Config, Convolution, Decoder, FORMAT_VERSION, Filter, ImagePooling, MobileNetV2,
    MobileNetV3, Network, Normalization, Preprocessing, Provenance, ResNet, SizeRule, Xception,
};
use crate::error::Result;
use crate::labels::Labels;

impl Backbone {
    /// The names that [`builtin`](Self::builtin) knows.
    pub const BUILTIN: [&'static str; 11] = [
        "xception41",
        "xception65",
        "xception71",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnet101_beta",
    ];

    /// A published backbone by its name, one of [`BUILTIN`](Self::BUILTIN): TensorFlow's where both have one, PyTorch's
    /// ResNets, and TensorFlow's ResNet-101 as `resnet101_beta`.
    ///
    /// ```
    /// use candle_deeplab::config::Backbone;
    ///
    /// assert!(Backbone::BUILTIN.iter().all(|name| Backbone::builtin(name).is_some()));
    /// assert_eq!(Backbone::builtin("resnet50").map(|backbone| backbone.name()), Some("resnet50"));
    /// ```
    pub fn builtin(name: &str) -> Option<Self> {
        match name {
            "xception41" => Some(Self::xception41()),
            "xception65" => Some(Self::xception65()),
            "xception71" => Some(Self::xception71()),
            "mobilenet_v2" => Some(Self::mobilenet_v2(1.0)),
            "mobilenet_v3_large" => Some(Self::mobilenet_v3_large()),
            "resnet101_beta" => Some(Self::resnet101_beta()),
            _ => ResNet::torchvision(name).map(Self::Resnet),
        }
    }

    /// Xception-41.
    pub fn xception41() -> Self {
        Self::Xception(Xception::xception41())
    }

    /// Xception-65, the paper's.
    pub fn xception65() -> Self {
        Self::Xception(Xception::xception65())
    }

    /// Xception-71.
    pub fn xception71() -> Self {
        Self::Xception(Xception::xception71())
    }

    /// MobileNetV2 with all widths multiplied by `depth_multiplier`.
    pub fn mobilenet_v2(depth_multiplier: f64) -> Self {
        Self::MobilenetV2(MobileNetV2::tensorflow(depth_multiplier))
    }

    /// MobileNetV3-Large.
    pub fn mobilenet_v3_large() -> Self {
        Self::MobilenetV3(MobileNetV3::large())
    }

    /// TensorFlow's ResNet-101 with three 3×3 convolutions at the start.
    pub fn resnet101_beta() -> Self {
        Self::Resnet(ResNet::resnet101_beta())
    }

    /// The tap of the features at a quarter of the input's size, with which a decoder refines outlines.
    pub fn low_level_tap(&self) -> &'static str {
        match self {
            Self::Xception(layout) => layout.low_level_tap(),
            Self::MobilenetV2(_) => MobileNetV2::low_level_tap(),
            Self::MobilenetV3(_) => "block3",
            Self::Resnet(layout) => layout.low_level_tap(),
        }
    }
}

impl Network {
    /// DeepLabv3 (Chen et al. 2017) at output stride 16, as in TensorFlow: an ASPP of separable convolutions with 256
    /// channels and atrous rates 6, 12 and 18.
    pub fn deeplabv3(backbone: Backbone, classes: usize) -> Self {
        Self {
            backbone,
            output_stride: 16,
            multi_grid: [1, 1, 1],
            normalization: Normalization::BatchNorm,
            align_corners: true,
            aspp: Some(Aspp {
                width: 256,
                rates: vec![6, 12, 18],
                image_pooling: ImagePooling::First,
                convolution: Convolution::Separable,
                projection_kernel: 1,
                refine: None,
                batch_norm_eps: 1e-5,
            }),
            decoder: None,
            auxiliary: None,
            classes,
        }
    }

    /// DeepLabv3+ (Chen et al. 2018): [`deeplabv3`](Self::deeplabv3) with the decoder of the paper, which reduces low-level
    /// features to 48 channels and has two convolutions of 256.
    pub fn deeplabv3plus(backbone: Backbone, classes: usize) -> Self {
        let decoder = Decoder {
            low_level: backbone.low_level_tap().into(),
            low_level_width: 48,
            concat: ConcatOrder::AsppFirst,
            widths: vec![256, 256],
            convolution: Convolution::Separable,
            before: None,
        };
        Self { decoder: Some(decoder), ..Self::deeplabv3(backbone, classes) }
    }
}

impl Config {
    /// A recipe for [`Network::deeplabv3`]; see [`deeplabv3plus`](Self::deeplabv3plus).
    pub fn deeplabv3(backbone: Backbone, classes: usize) -> Self {
        Self::of(Network::deeplabv3(backbone, classes))
    }

    /// A recipe for [`Network::deeplabv3plus`], with pixels from −1 to 1, images fitted into 513×513, and numbered
    /// classes. Every field can be changed:
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use candle_deeplab::config::Backbone;
    /// use candle_deeplab::{Config, DeepLab, Labels};
    /// use candle_nn::{VarBuilder, VarMap};
    ///
    /// let config = Config::deeplabv3(Backbone::mobilenet_v2(0.5), 21).with_labels(Labels::voc());
    /// let vars = VarMap::new();
    /// let model = DeepLab::new(&config, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    /// # Ok::<(), candle_deeplab::Error>(())
    /// ```
    pub fn deeplabv3plus(backbone: Backbone, classes: usize) -> Self {
        Self::of(Network::deeplabv3plus(backbone, classes))
    }

    /// The same recipe with other names and colours of the classes.
    pub fn with_labels(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    /// The same recipe with another rule for the size of the network's input.
    pub fn with_size(self, size: SizeRule) -> Self {
        Self { preprocessing: Preprocessing { size, ..self.preprocessing }, ..self }
    }

    /// The same recipe at another output stride, with the atrous rates scaled to match.
    ///
    /// # Errors
    /// As [`Network::at_output_stride`].
    pub fn with_output_stride(self, output_stride: usize) -> Result<Self> {
        Ok(Self { network: self.network.at_output_stride(output_stride)?, ..self })
    }

    fn of(network: Network) -> Self {
        const MIDDLE: f32 = 127.5;
        Self {
            format_version: FORMAT_VERSION,
            labels: Labels::numbered(network.classes),
            network,
            preprocessing: Preprocessing {
                mean: [MIDDLE; 3],
                std: [MIDDLE; 3],
                pad_value: [MIDDLE; 3],
                size: SizeRule::Fit { height: 513, width: 513 },
                filter: Filter::Bilinear,
            },
            provenance: Provenance {
                family: "candle_deeplab".into(),
                source: "none".into(),
                format: "none".into(),
                converter: concat!("candle-deeplab ", env!("CARGO_PKG_VERSION")).into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;

    #[test]
    fn every_backbone_makes_a_network_with_and_without_a_decoder() {
        for backbone in [
            Backbone::xception41(),
            Backbone::xception65(),
            Backbone::xception71(),
            Backbone::mobilenet_v2(1.0),
            Backbone::mobilenet_v3_large(),
            Backbone::resnet101_beta(),
        ] {
            for config in [Config::deeplabv3(backbone.clone(), 7), Config::deeplabv3plus(backbone.clone(), 7)] {
                config.validate().unwrap();
                let graph = arch::graph(&config.network).unwrap();
                if config.network.decoder.is_some() {
                    let tap = graph.tap(&format!("{}.{}", arch::BACKBONE, backbone.low_level_tap())).unwrap();
                    assert_eq!(graph.sizes(513, 513).unwrap()[tap.index()].height, 129, "{}", backbone.name());
                }
            }
        }
    }

    #[test]
    fn a_recipe_can_be_changed_field_by_field() {
        let size = SizeRule::Native { height: 1, width: 1 };
        let config = Config::deeplabv3plus(Backbone::xception41(), 21).with_labels(Labels::voc()).with_size(size);
        assert_eq!((&config.labels, config.preprocessing.size), (&Labels::voc(), size));
        let config = config.with_output_stride(8).unwrap();
        assert_eq!(config.network.aspp.as_ref().unwrap().rates, [12, 24, 36]);
        assert!(config.with_output_stride(7).is_err());
    }
}
