use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;

use super::{Dropout, Mode, Norms, Training, dropout};
use crate::arch::{self, AUXILIARY, BACKBONE};
use crate::config::{
    Aspp, Auxiliary, Backbone, BlockPadding, Convolution, DilationStart, ImagePooling, MobileNetV2, MobileNetV3,
    MultiGridRule, Network, PoolPadding, ResNet, Stem, StridedUnit, Unit, Xception,
};
use crate::error::Error;
use crate::exec::eager::{self, Eager};
use crate::graph::{Activation, Builder, Conv, Graph, Normalization, Op, Role, Value};
use crate::ops::testing::hashed;

/// Variables with values by which no feature map dies or grows much.
fn vars(graph: &Graph, dtype: DType) -> Vec<Var> {
    let var = |param: crate::graph::Param| {
        let values = hashed(&param.name, &param.shape);
        let fan_in: usize = param.shape.iter().skip(1).product();
        let values = match param.role {
            Role::Kernel => values * (6.0 / fan_in as f64).sqrt(),
            Role::Gamma | Role::Variance => (values * 0.3).unwrap() + 1.0,
            Role::Bias | Role::Beta | Role::Mean => values * 0.3,
        };
        Var::from_tensor(&values.unwrap().to_dtype(dtype).unwrap()).unwrap()
    };
    graph.params().into_iter().map(var).collect()
}

/// The definition: every node by candle's operations on variables, whose gradients candle's autograd finds.
fn reference(graph: &Graph, vars: &[Var], pixels: &Tensor, mode: &Mode) -> Vec<Tensor> {
    let mut weights = vec![Vec::new(); graph.nodes().len()];
    for (param, var) in graph.params().iter().zip(vars) {
        weights[param.node.index()].push(var.as_tensor().clone());
    }
    let mut values: Vec<Tensor> = Vec::new();
    for (value, node) in graph.values().zip(graph.nodes()) {
        let inputs: Vec<Tensor> = node.inputs.iter().map(|x| values[x.index()].clone()).collect();
        let weights = &weights[value.index()];
        let mut result = match node.op {
            Op::BatchNorm { eps } if mode.norms.of_batch(value) => {
                batch_norm(&inputs[0], &weights[0], &weights[1], eps)
            }
            _ => eager::compute(node, pixels, &inputs, weights).unwrap(),
        };
        for (stream, point) in mode.dropout.iter().enumerate().filter(|(_, point)| point.value == value) {
            let mask = dropout::mask(&result, point, mode.seed, stream as u64).unwrap();
            result = result.broadcast_mul(&mask).unwrap();
        }
        values.push(result);
    }
    values
}

fn batch_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Tensor {
    let centred = x.broadcast_sub(&x.mean_keepdim((0, 2, 3)).unwrap()).unwrap();
    let variance = centred.sqr().unwrap().mean_keepdim((0, 2, 3)).unwrap();
    let normal = centred.broadcast_div(&(variance + eps).unwrap().sqrt().unwrap()).unwrap();
    let per_channel = |t: &Tensor| t.reshape((1, (), 1, 1)).unwrap();
    normal.broadcast_mul(&per_channel(gamma)).unwrap().broadcast_add(&per_channel(beta)).unwrap()
}

/// The greatest difference, relative to the greatest number.
fn difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.dims(), theirs.dims());
    let most = |t: Tensor| t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
    let scale = most(theirs.clone()).max(1e-3);
    most((ours - theirs).unwrap()) / scale
}

/// Compares a forward and a backward pass with the reference. The loss is a sum of the wanted values with hashed
/// weights.
fn check(graph: &Graph, pixels: &Tensor, wanted: &[Value], mode: &Mode) {
    let vars = vars(graph, DType::F64);
    let theirs = reference(graph, &vars, pixels, mode);
    let training = Training::new(graph.clone(), vars.clone()).unwrap();
    let pass = training.forward(pixels, wanted, mode).unwrap();
    let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu).unwrap();
    let mut seeds = Vec::new();
    for (i, value) in wanted.iter().enumerate() {
        let (ours, theirs) = (pass.value(*value).unwrap(), &theirs[value.index()]);
        assert!(difference(ours, theirs) < 1e-8, "{}", graph.node(*value).path);
        let seed = hashed(&format!("seed{i}"), theirs.dims());
        loss = (loss + (theirs * &seed).unwrap().sum_all().unwrap()).unwrap();
        seeds.push((*value, seed));
    }
    let theirs = loss.backward().unwrap();
    let ours = pass.backward(seeds).unwrap();
    for (position, ((param, var), gradient)) in graph.params().iter().zip(&vars).zip(ours).enumerate() {
        let frozen = !param.role.is_trainable() || mode.frozen.contains(&position);
        match (gradient, theirs.get(var)) {
            (Some(ours), Some(theirs)) => {
                assert!(!frozen, "{} is frozen", param.name);
                let off = difference(&ours, theirs);
                assert!(off < 1e-6, "{} is {off:.1e} off", param.name);
            }
            (None, Some(_)) => assert!(frozen, "{} has no gradient", param.name),
            (Some(_), None) => panic!("nothing depends on {}", param.name),
            (None, None) => {}
        }
    }
}

fn aspp(convolution: Convolution, image_pooling: ImagePooling, refine: Option<Convolution>) -> Aspp {
    Aspp { width: 4, rates: vec![1, 2], image_pooling, convolution, projection_kernel: 1, refine, batch_norm_eps: 1e-5 }
}

/// Narrow networks of every kind.
fn network(kind: usize, plus: bool, align_corners: bool, output_stride: usize) -> Network {
    let resnet = ResNet {
        stem: Stem::Deep { widths: [4, 4, 8] },
        unit: Unit::Bottleneck,
        pool_padding: PoolPadding::Same,
        strided_unit: StridedUnit::Last,
        dilation_start: DilationStart::NextUnit,
        multi_grid_rule: MultiGridRule::Factors,
        units: [2, 2, 1, 2],
        widths: [8, 8, 12, 16],
        batch_norm_eps: 1e-5,
    };
    let xception = Xception {
        stem: [3, 4],
        entry: [4, 6, 8].map(|width| crate::config::EntryBlock { width, stride: 2 }).to_vec(),
        middle_blocks: 1,
        exit: [[8, 8, 8], [8, 8, 10]],
        ..Xception::xception41()
    };
    let (backbone, convolution, pooling, refine) = match kind {
        0 => (Backbone::Xception(xception), Convolution::Separable, ImagePooling::First, None),
        1 => {
            let jfzhang =
                Xception { in_place_relu: true, exit_depthwise_relu: false, dilate_strided: false, ..xception };
            (Backbone::Xception(jfzhang), Convolution::Dense, ImagePooling::Last, None)
        }
        2 => (Backbone::Resnet(resnet), Convolution::Dense, ImagePooling::Last, Some(Convolution::Dense)),
        3 => {
            let basic = ResNet {
                stem: Stem::Single { width: 6 },
                unit: Unit::Basic { dilate_second: true },
                pool_padding: PoolPadding::Symmetric,
                strided_unit: StridedUnit::First,
                dilation_start: DilationStart::NextStage,
                ..resnet
            };
            (Backbone::Resnet(basic), Convolution::PlainSeparable, ImagePooling::None, Some(Convolution::Separable))
        }
        4 => (Backbone::mobilenet_v2(0.1), Convolution::Separable, ImagePooling::First, None),
        5 => {
            let vainf = MobileNetV2 {
                padding: BlockPadding::BeforeExpansion,
                padded_stem: false,
                ..MobileNetV2::tensorflow(0.15)
            };
            (Backbone::MobilenetV2(vainf), Convolution::Dense, ImagePooling::Last, None)
        }
        _ => {
            let mut layout = MobileNetV3::large();
            layout.stem = 4;
            layout.head = 16;
            fn narrow(width: usize) -> usize {
                (width / 8).max(4)
            }
            for block in &mut layout.blocks {
                block.width = narrow(block.width);
                block.expansion = block.expansion.map(narrow);
                block.squeeze = block.squeeze.map(narrow);
            }
            (Backbone::MobilenetV3(layout), Convolution::Dense, ImagePooling::Last, None)
        }
    };
    let base = match plus {
        true => Network::deeplabv3plus(backbone, 3),
        false => Network::deeplabv3(backbone, 3),
    };
    let decoder = base.decoder.clone().map(|decoder| crate::config::Decoder {
        low_level_width: 3,
        widths: vec![5, 4],
        convolution,
        ..decoder
    });
    let tap = match base.backbone {
        Backbone::Xception(_) => "entry_flow.block2",
        Backbone::Resnet(_) => "block3",
        _ => "block4",
    };
    let auxiliary = Some(Auxiliary { tap: tap.into(), widths: vec![4] });
    let (output_stride, aspp) = (output_stride, Some(aspp(convolution, pooling, refine)));
    Network { output_stride, align_corners, aspp, decoder, auxiliary, ..base }
}

fn pixels(n: usize, height: usize, width: usize) -> Tensor {
    hashed("pixels", &[n, 3, height, width])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(28))]

    #[test]
    fn gradients_are_those_of_autograd(
        (kind, plus, align_corners, stride) in (0usize..7, any::<bool>(), any::<bool>(), 0usize..2),
        (n, height, width) in (1usize..3, 17usize..36, 17usize..36),
        (norms, frozen, dropped, seed) in (0usize..3, 0usize..4, 0usize..3, any::<u64>()),
    ) {
        let graph = arch::graph(&network(kind, plus, align_corners, [16, 8][stride])).unwrap();
        let training = Training::new(graph.clone(), vars(&graph, DType::F64)).unwrap();
        let (logits, auxiliary) = (graph.logits().unwrap(), graph.tap(AUXILIARY).unwrap());
        let norms = match norms {
            0 => Norms::Batch,
            1 => Norms::Stored,
            _ => Norms::StoredIn(training.norms_under(BACKBONE).unwrap()),
        };
        let is_gamma = |(_, param): &(usize, &crate::graph::Param)| matches!(param.role, Role::Gamma | Role::Beta);
        let frozen = match frozen {
            0 => training.params_under(BACKBONE).unwrap(),
            1 => training.params().iter().enumerate().filter(is_gamma).map(|(i, _)| i).collect(),
            _ => BTreeSet::new(),
        };
        let dropout = match dropped {
            0 => vec![Dropout::of_aspp(&graph, 0.3).unwrap(), Dropout::before_auxiliary(&graph, 0.5).unwrap()],
            // Without a decoder, both are of one value.
            1 => vec![Dropout::before_classifier(&graph, 0.3).unwrap(), Dropout::of_aspp(&graph, 0.2).unwrap()],
            _ => Vec::new(),
        };
        let mode = Mode { norms, dropout, seed, frozen, ..Mode::default() };
        // The full-size logits and the backbone's features have gradients of their own; the logits have two.
        let wanted = [logits, auxiliary, graph.output(), graph.tap(BACKBONE).unwrap(), logits];
        check(&graph, &pixels(n, height, width), &wanted, &mode);
    }
}

/// A batch norm that is read twice, one that is wanted, one that is dropped from, and one with each activation.
#[test]
fn norms_are_fused_with_activations_only_where_nothing_else_reads_them() {
    let (mut g, image) = Builder::new(3, Normalization::BatchNorm);
    let a = g.conv_bn("a", image, Conv::dense(4, 3));
    let activated = [Activation::Relu, Activation::Relu6, Activation::HardSwish, Activation::HardSigmoid].map(|of| {
        g.scope(format!("{of:?}"), |g| {
            let read_twice = g.activation(a, of);
            let x = g.conv_bn_act("fused", read_twice, Conv::pointwise(4), of);
            let y = g.conv_bn("plain", x, Conv::pointwise(4));
            let product = g.multiply(y, a);
            g.activation(product, of)
        })
    });
    let joined = g.concat(&activated);
    let wanted = g.conv_bn("wanted", joined, Conv::pointwise(4));
    let wanted_too = g.activation(wanted, Activation::Relu);
    let dropped = g.conv_bn("dropped", wanted_too, Conv::pointwise(4));
    let end = g.activation(dropped, Activation::Relu6);
    let graph = g.finish(end).unwrap();
    let dropout = vec![Dropout { value: dropped, rate: 0.4, channels: false }];
    for norms in [Norms::Batch, Norms::Stored] {
        for frozen in [BTreeSet::new(), (1..graph.params().len()).collect()] {
            let mode = Mode { norms: norms.clone(), dropout: dropout.clone(), frozen, ..Mode::default() };
            check(&graph, &pixels(2, 5, 4), &[wanted, end], &mode);
        }
    }
}

#[test]
fn with_stored_statistics_it_computes_what_inference_does() {
    let graph = arch::graph(&network(0, true, false, 16)).unwrap();
    let vars = vars(&graph, DType::F64);
    let mut tensors = vars.iter().map(|var| var.as_tensor().clone());
    let eager = Eager::new(graph.clone(), |_| tensors.next().ok_or(())).unwrap();
    let (pixels, logits) = (pixels(2, 33, 41), graph.logits().unwrap());
    let theirs = eager.run(&pixels, &[logits]).unwrap();
    let training = Training::new(graph, vars).unwrap();
    let pass = training.forward(&pixels, &[logits], &Mode { norms: Norms::Stored, ..Mode::default() }).unwrap();
    assert!(difference(pass.value(logits).unwrap(), &theirs[0]) < 1e-10);
    assert!(pass.statistics().is_empty());
}

/// What a frozen backbone computes is kept only where the head needs it; nothing at all is kept where nothing is
/// trained.
#[test]
fn what_no_gradient_needs_is_not_kept() {
    let graph = arch::graph(&network(4, true, false, 16)).unwrap();
    let training = Training::new(graph.clone(), vars(&graph, DType::F32)).unwrap();
    let pixels = pixels(1, 33, 33).to_dtype(DType::F32).unwrap();
    let logits = graph.logits().unwrap();
    let held = |frozen: BTreeSet<usize>, norms| {
        let pass = training.forward(&pixels, &[logits], &Mode { frozen, norms, ..Mode::default() }).unwrap();
        let held = |value: &Value| {
            let kept = &pass.kept[value.index()];
            pass.values[value.index()].is_some() || kept.result.is_some() || kept.statistics.is_some()
        };
        graph.values().filter(held).collect::<Vec<_>>()
    };
    let backbone = training.params_under(BACKBONE).unwrap();
    let low_level = graph.tap("backbone.block3.depthwise").unwrap();
    let features = graph.tap(BACKBONE).unwrap();
    let in_backbone = |value: &Value| graph.node(*value).path.starts_with("backbone.");
    let held_there: Vec<Value> = held(backbone, Norms::Batch).into_iter().filter(in_backbone).collect();
    assert_eq!(held_there, [low_level, features]);
    let all: BTreeSet<usize> = (0..training.params().len()).collect();
    assert_eq!(held(all, Norms::Batch), [logits]);
    // A norm whose statistics and parameters are fixed needs its input no more.
    let norms = training.params().iter().enumerate().filter(|(_, param)| param.role != Role::Kernel);
    let norms: BTreeSet<usize> = norms.map(|(position, _)| position).collect();
    let is_norms_input = |value: &Value| {
        let users = graph.users(logits);
        users[value.index()].iter().any(|user| matches!(graph.node(*user).op, Op::BatchNorm { .. }))
    };
    assert_eq!(held(norms, Norms::Stored).iter().filter(|value| is_norms_input(value)).count(), 0);
}

fn one_norm() -> (Graph, Value) {
    let (mut g, image) = Builder::new(3, Normalization::BatchNorm);
    let x = g.conv_bn("conv", image, Conv::pointwise(2));
    (g.finish(x).unwrap(), x)
}

/// Running statistics follow the batch's mean and its unbiased variance.
#[test]
fn running_statistics_follow_the_batch() {
    let (graph, end) = one_norm();
    let vars = vars(&graph, DType::F64);
    let training = Training::new(graph, vars.clone()).unwrap();
    let pixels = pixels(2, 2, 1);
    let mode = Mode { momentum: 0.25, ..Mode::default() };
    let pass = training.forward(&pixels, &[end], &mode).unwrap();
    let kernel = vars[0].reshape((2, 3)).unwrap();
    let x = kernel.broadcast_matmul(&pixels.reshape((2, 3, 2)).unwrap()).unwrap();
    let x = x.transpose(0, 1).unwrap().flatten_from(1).unwrap().to_vec2::<f64>().unwrap();
    let old: Vec<Vec<f64>> = vars[3..].iter().map(|var| var.to_vec1().unwrap()).collect();
    assert_eq!(pass.statistics().iter().map(|(position, _)| *position).collect::<Vec<_>>(), [3, 4]);
    let new: Vec<Vec<f64>> = pass.statistics().iter().map(|(_, tensor)| tensor.to_vec1().unwrap()).collect();
    for channel in 0..2 {
        let mean = x[channel].iter().sum::<f64>() / 4.0;
        let variance = x[channel].iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 3.0;
        assert!((new[0][channel] - (0.75 * old[0][channel] + 0.25 * mean)).abs() < 1e-12);
        assert!((new[1][channel] - (0.75 * old[1][channel] + 0.25 * variance)).abs() < 1e-12);
    }
    assert_eq!(vars[3].to_vec1::<f64>().unwrap(), old[0], "they are not stored by the pass");
    training.apply_statistics(pass.statistics()).unwrap();
    assert_eq!(vars[3].to_vec1::<f64>().unwrap(), new[0]);
    let error = training.apply_statistics(&[(0, vars[0].as_tensor().clone())]).unwrap_err();
    assert!(error.to_string().contains("parameter 0 is no statistic"), "{error}");
}

#[test]
fn a_single_number_has_a_mean_and_no_variance() {
    let (graph, end) = one_norm();
    let vars = vars(&graph, DType::F32);
    let training = Training::new(graph, vars.clone()).unwrap();
    let pixels = pixels(1, 1, 1).to_dtype(DType::F32).unwrap();
    let pass = training.forward(&pixels, &[end], &Mode::default()).unwrap();
    assert_eq!(pass.statistics().iter().map(|(position, _)| *position).collect::<Vec<_>>(), [3]);
    let y: Vec<f32> = pass.value(end).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(y, vars[2].to_vec1::<f32>().unwrap(), "the number is its own mean");
    let ones = pass.value(end).unwrap().ones_like().unwrap();
    let gradients = pass.backward(vec![(end, ones)]).unwrap();
    let kernel: Vec<f32> = gradients[0].as_ref().unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(kernel, [0.0; 6]);
}

#[test]
fn dropout_keeps_its_share_and_the_mean() {
    let x = Tensor::ones((4, 50, 20, 20), DType::F32, &Device::Cpu).unwrap();
    let mask = |channels, seed, stream| {
        let (graph, value) = one_norm();
        let _ = graph;
        dropout::mask(&x, &Dropout { value, rate: 0.3, channels }, seed, stream).unwrap()
    };
    let factors = |mask: &Tensor| mask.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for channels in [false, true] {
        let drawn = mask(channels, 7, 0);
        assert_eq!(drawn.dims(), if channels { [4, 50, 1, 1] } else { [4, 50, 20, 20] });
        let drawn = factors(&drawn);
        assert!(drawn.iter().all(|factor| *factor == 0.0 || *factor == 1.0 / 0.7));
        let dropped = drawn.iter().filter(|factor| **factor == 0.0).count() as f64 / drawn.len() as f64;
        assert!((dropped - 0.3).abs() < if channels { 0.1 } else { 0.01 }, "{dropped}");
        assert_eq!(drawn, factors(&mask(channels, 7, 0)));
        assert_ne!(drawn, factors(&mask(channels, 8, 0)));
        assert_ne!(drawn, factors(&mask(channels, 7, 1)));
    }
}

#[test]
fn dropout_stands_where_code_bases_have_it() {
    let path = |graph: &Graph, dropout: Result<Dropout, Error>| graph.node(dropout.unwrap().value).path.clone();
    let plus = arch::graph(&network(0, true, false, 16)).unwrap();
    let plain = arch::graph(&network(0, false, false, 16)).unwrap();
    for graph in [&plus, &plain] {
        assert_eq!(path(graph, Dropout::of_aspp(graph, 0.1)), "aspp.projection.relu");
        assert_eq!(path(graph, Dropout::before_auxiliary(graph, 0.1)), "auxiliary.conv1.conv.relu");
    }
    assert_eq!(path(&plus, Dropout::before_classifier(&plus, 0.1)), "decoder.conv2.pointwise.relu");
    assert_eq!(path(&plain, Dropout::before_classifier(&plain, 0.1)), "aspp.projection.relu");
    let headless = arch::graph(&Network {
        aspp: None,
        classes: 0,
        auxiliary: None,
        decoder: None,
        ..network(0, false, false, 16)
    });
    assert!(matches!(Dropout::of_aspp(&headless.unwrap(), 0.1), Err(Error::NoSuchTap { .. })));
}

#[test]
fn variables_must_fit_the_parameters() {
    let (graph, _) = one_norm();
    let all = vars(&graph, DType::F32);
    let error = |vars: Vec<Var>| Training::new(graph.clone(), vars).unwrap_err().to_string();
    assert_eq!(error(all[1..].to_vec()), "training: 4 variables for 5 parameters: give one for each");
    let mut swapped = all.clone();
    swapped.swap(0, 1);
    assert!(error(swapped).contains("`conv.weight` has the shape [2], not [2, 3, 1, 1]"));
    let mut wide = all.clone();
    wide[4] = vars(&graph, DType::F64).remove(4);
    assert!(error(wide).contains("`conv.bn.running_var` is F64"));
}

#[test]
fn pixels_modes_and_seeds_must_fit_the_network() {
    let (graph, end) = one_norm();
    let training = Training::new(graph, vars(&one_norm().0, DType::F32)).unwrap();
    let pixels = pixels(2, 4, 4).to_dtype(DType::F32).unwrap();
    let forward = |pixels: &Tensor, mode: &Mode| training.forward(pixels, &[end], mode);
    let mode = Mode::default();
    let wrong = forward(&pixels.narrow(1, 0, 2).unwrap(), &mode).unwrap_err();
    assert!(matches!(wrong, Error::Input { .. }), "{wrong}");
    let wrong = forward(&pixels.narrow(0, 0, 0).unwrap(), &mode).unwrap_err();
    assert!(matches!(wrong, Error::Input { .. }), "{wrong}");
    let wrong = forward(&pixels.to_dtype(DType::F64).unwrap(), &mode).unwrap_err();
    assert!(matches!(wrong, Error::Dtype { .. }), "{wrong}");
    for rate in [1.0, -0.1, f64::NAN] {
        let dropout = vec![Dropout { value: end, rate, channels: false }];
        let wrong = forward(&pixels, &Mode { dropout, ..Mode::default() }).unwrap_err();
        assert!(wrong.to_string().contains("`conv.bn` at rate"), "{wrong}");
    }
    for momentum in [1.1, -0.1, f64::NAN] {
        let wrong = forward(&pixels, &Mode { momentum, ..Mode::default() }).unwrap_err();
        assert!(wrong.to_string().contains("momentum"), "{wrong}");
    }
    let beyond = arch::graph(&network(0, true, false, 16)).unwrap().output();
    let wrong = training.forward(&pixels, &[beyond], &mode).unwrap_err();
    assert!(wrong.to_string().contains("does not have"), "{wrong}");

    let seeded = |value: Value, seed: Tensor| forward(&pixels, &mode).unwrap().backward(vec![(value, seed)]);
    let wrong = seeded(training.graph().values().next().unwrap(), pixels.clone()).unwrap_err();
    assert!(wrong.to_string().contains("not asked for"), "{wrong}");
    let wrong = seeded(end, pixels.clone()).unwrap_err();
    assert!(wrong.to_string().contains("of `conv.bn`, which is [2, 2, 4, 4]"), "{wrong}");
    let nothing = forward(&pixels, &mode).unwrap().backward(Vec::new()).unwrap();
    assert!(nothing.iter().all(Option::is_none));
}

#[test]
fn scopes_name_parameters_and_norms() {
    let graph = arch::graph(&network(0, true, false, 16)).unwrap();
    let training = Training::new(graph.clone(), vars(&graph, DType::F32)).unwrap();
    let under = training.params_under("decoder.conv1").unwrap();
    assert!(under.iter().all(|position| training.params()[*position].name.starts_with("decoder.conv1.")));
    assert_eq!((under.len(), training.norms_under("decoder.conv1").unwrap().len()), (10, 2));
    assert!(matches!(training.params_under("decoder.conv"), Err(Error::NoSuchTap { .. })));
    assert!(matches!(training.norms_under("decodre"), Err(Error::NoSuchTap { .. })));
}
