use candle_core::DType;
use candle_deeplab::config::{Aspp, Backbone, Network};
use candle_nn::{Init, VarBuilder, VarMap};

use super::*;
use crate::recipe::{AsppChanges, BackboneChoice, DecoderChanges, Head};

/// A narrow MobileNetV2 with a narrow head, so that tests are quick.
fn network(normalization: Normalization, classes: usize) -> Network {
    let network = Network::deeplabv3(Backbone::mobilenet_v2(0.35), classes);
    Network { normalization, aspp: network.aspp.map(|aspp| Aspp { width: 8, rates: vec![], ..aspp }), ..network }
}

/// A model with random weights, biases and statistics.
fn random_model(network: Network) -> DeepLab {
    let base = Config::deeplabv3(network.backbone.clone(), network.classes);
    let config = Config { network, ..base };
    let graph = arch::graph(&config.network).unwrap();
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    for param in graph.params() {
        let init = match param.role {
            candle_deeplab::graph::Role::Variance => Init::Uniform { lo: 0.5, up: 2.0 },
            candle_deeplab::graph::Role::Kernel => param.role.init(),
            _ => Init::Uniform { lo: -0.5, up: 0.5 },
        };
        vb.get_with_hints(param.shape.as_slice(), &param.name, init).unwrap();
    }
    DeepLab::new(&config, vb).unwrap()
}

fn recipe() -> Model {
    Model {
        aspp: Some(AsppChanges { width: Some(8), rates: Some(vec![2]), ..AsppChanges::default() }),
        decoder: Some(DecoderChanges { low_level_width: Some(4), widths: Some(vec![8]), ..DecoderChanges::default() }),
        ..Model::default()
    }
}

fn none() -> impl Iterator<Item = Result<Tensor>> {
    std::iter::empty()
}

fn pixels(n: usize) -> Tensor {
    Tensor::rand(-1f32, 1f32, (n, 3, 33, 49), &Device::Cpu).unwrap()
}

#[test]
fn from_scratch_everything_depends_on_the_seed_alone() {
    let model = Model {
        backbone: Some(BackboneChoice::Named("mobilenet_v2".into())),
        depth_multiplier: Some(0.35),
        ..recipe()
    };
    let values = |seed| {
        let start = start(&model, &Labels::numbered(3), None, none(), seed, &Device::Cpu).unwrap();
        assert_eq!((start.origin.taken, start.vars.len()), (0, start.graph.params().len()));
        start.vars.iter().map(|var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(values(1), values(1));
    assert_ne!(values(1), values(2));
}

#[test]
fn kernels_have_the_deviation_of_their_fan_in() {
    let model = Model { backbone: Some(BackboneChoice::Named("resnet18".into())), ..recipe() };
    let start = start(&model, &Labels::numbered(3), None, none(), 1, &Device::Cpu).unwrap();
    let deviation = |name: &str| {
        let at = start.graph.params().iter().position(|param| param.name == name).unwrap();
        start.vars[at].sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt()
    };
    let wanted = (2.0 / (512.0 * 9.0f32)).sqrt();
    assert!((deviation("backbone.block4.unit2.conv2.weight") / wanted - 1.0).abs() < 0.01);
    assert!((deviation("classifier.weight") / 0.01 - 1.0).abs() < 0.5);
}

#[test]
fn a_model_with_other_classes_gives_all_but_the_classifier() {
    let source = random_model(network(Normalization::BatchNorm, 5));
    let start = start(&Model::default(), &Labels::numbered(3), Some(&source), none(), 1, &Device::Cpu).unwrap();
    assert_eq!((start.origin.new, start.origin.unused), (vec!["classifier".to_owned()], vec!["classifier".to_owned()]));
    assert_eq!(start.origin.taken, start.vars.len() - 2);
    let params = start.graph.params();
    for (param, var) in params.iter().zip(&start.vars).filter(|(param, _)| !param.name.starts_with("classifier")) {
        let (ours, theirs) = (var.flatten_all().unwrap(), source.parameter(param).unwrap().flatten_all().unwrap());
        assert_eq!(ours.to_vec1::<f32>().unwrap(), theirs.to_vec1::<f32>().unwrap(), "{}", param.name);
    }
}

#[test]
fn another_head_is_new_and_listed() {
    let source = random_model(network(Normalization::BatchNorm, 3));
    let model = Model { head: Some(Head::DeepLabV3Plus), ..recipe() };
    let start = start(&model, &Labels::numbered(3), Some(&source), none(), 1, &Device::Cpu).unwrap();
    assert!(start.origin.new.iter().any(|path| path.starts_with("decoder.")), "{:?}", start.origin.new);
    assert!(!start.origin.new.iter().any(|path| path.starts_with("backbone.")), "{:?}", start.origin.new);
    assert_eq!(start.origin.unused, ["aspp.projection"]);
}

/// The network with recovered norms computes what the folded one does.
#[test]
fn folded_norms_are_recovered() {
    let source = random_model(network(Normalization::Folded, 3));
    let images = vec![Ok(pixels(2)), Ok(pixels(1))].into_iter();
    let start = start(&Model::default(), &Labels::numbered(3), Some(&source), images, 1, &Device::Cpu).unwrap();
    assert!(start.origin.unfolded && start.origin.new.is_empty() && start.origin.unused.is_empty());
    let named = start.graph.params().into_iter().map(|param| param.name).zip(start.vars.iter());
    let tensors = named.map(|(name, var)| (name, var.as_detached_tensor())).collect();
    let model = DeepLab::new(&start.config, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap();
    let x = pixels(1);
    let (ours, theirs) = (model.logits(&x).unwrap(), source.logits(&x).unwrap());
    let largest = |x: Tensor| x.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
    let scale = largest(theirs.clone());
    assert!(largest((ours - theirs).unwrap()) < 1e-4 * scale);
}

#[test]
fn without_images_folded_norms_are_an_error_that_says_so() {
    let source = random_model(network(Normalization::Folded, 3));
    let error = start(&Model::default(), &Labels::numbered(3), Some(&source), none(), 1, &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("batch norms are folded"), "{error}");
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let said =
        |model: Model| start(&model, &Labels::numbered(3), None, none(), 1, &Device::Cpu).unwrap_err().to_string();
    assert!(said(Model::default()).starts_with("model.backbone: training from scratch needs one of xception41"));
    let named = |name: &str| Some(BackboneChoice::Named(name.into()));
    assert!(said(Model { backbone: named("xception66"), ..Model::default() }).contains("did you mean xception65"));
    let plain = Model { backbone: named("resnet50"), head: Some(Head::DeepLabV3), ..recipe() };
    assert!(said(plain).starts_with("model.decoder: this head has no decoder"));
    let factor = Model { backbone: named("resnet50"), depth_multiplier: Some(0.5), ..Model::default() };
    assert!(said(factor).starts_with("model.depth_multiplier"));
}
