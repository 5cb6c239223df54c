#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
use candle_core::{Device, Tensor};
use candle_deeplab::Result;
use candle_deeplab::arch::{LOGITS, MobileNetV2, MobileNetV3, ResNet, Xception};
use candle_deeplab::config::{Aspp, Backbone, ConcatOrder, Convolution, Decoder, ImagePooling, Network, Normalization};
use candle_deeplab::exec::cpu::Cpu;
use candle_deeplab::exec::{Isa, Precision};
use candle_deeplab::graph::{Activation, Builder, Conv, Graph, Padding, Param, Role, Value};
use std::sync::Arc;

fn fnv(bytes: impl IntoIterator<Item = u8>, mut h: u64) -> u64 {
    for b in bytes {
        h = (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
    }
    h
}
fn hashed(name: &str, len: usize) -> Vec<f32> {
    let mut state = fnv(name.bytes(), 0xcbf2_9ce4_8422_2325);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}
fn weight(param: &Param) -> Result<Tensor> {
    let len: usize = param.shape.iter().product();
    let mut values = hashed(&param.name, len);
    match param.role {
        Role::Variance => values.iter_mut().for_each(|v| *v = v.abs() + 0.5),
        Role::Gamma => values.iter_mut().for_each(|v| *v = 1.0 + 0.3 * *v),
        Role::Kernel => {
            let fan = (len / param.shape[0]) as f32;
            values.iter_mut().for_each(|v| *v *= (3.0 / fan).sqrt());
        }
        _ => {}
    }
    Ok(Tensor::from_vec(values, param.shape.as_slice(), &Device::Cpu)?)
}
fn network(align: bool, layers: impl FnOnce(&mut Builder, Value) -> Value) -> Graph {
    let (mut g, image) = Builder::new(3, Normalization::BatchNorm);
    let x = layers(&mut g, image);
    let logits = g.scope(LOGITS, |g| g.conv("", x, Conv::pointwise(5).with_bias()));
    let output = g.resize(logits, image, align);
    g.finish(output).unwrap()
}
fn check(name: &str, graph: Graph, sizes: &[[usize; 3]]) {
    let graph = Arc::new(graph);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16].into_iter().filter(|p| isa.supports(*p)) {
            if isa == Isa::Portable && name.starts_with("big") {
                continue;
            }
            let cpu = pool.install(|| Cpu::new(graph.clone(), isa, precision, weight)).unwrap();
            for &[n, h, w] in sizes {
                let image = Tensor::from_vec(hashed("image", n * 3 * h * w), (n, 3, h, w), &Device::Cpu).unwrap();
                let hash = pool.install(|| {
                    let bits = |t: Tensor| {
                        t.flatten_all()
                            .unwrap()
                            .to_vec1::<f32>()
                            .unwrap()
                            .into_iter()
                            .flat_map(|v| v.to_bits().to_le_bytes())
                    };
                    let a = fnv(bits(cpu.logits(&image).unwrap()), 1);
                    let b = fnv(bits(cpu.output(&image).unwrap()), a);
                    fnv(cpu.label_map(&image).unwrap().flatten_all().unwrap().to_vec1::<u8>().unwrap(), b)
                });
                println!("HASH {name} {isa} {precision} {n}x{h}x{w} {hash:016x}");
            }
        }
    }
}
fn whole(backbone: Backbone, rates: &[usize], low_level: Option<&str>, os: usize, conv: Convolution) -> Graph {
    Network {
        backbone,
        output_stride: os,
        multi_grid: [1, 1, 1],
        normalization: Normalization::BatchNorm,
        align_corners: os == 16,
        aspp: Some(Aspp {
            width: 256,
            rates: rates.to_vec(),
            image_pooling: ImagePooling::First,
            convolution: conv,
            projection_kernel: 1,
            refine: None,
            batch_norm_eps: 1e-5,
        }),
        auxiliary: None,
        decoder: low_level.map(|tap| Decoder {
            low_level: tap.into(),
            low_level_width: 48,
            concat: ConcatOrder::AsppFirst,
            widths: vec![256, 256],
            convolution: conv,
        }),
        classes: 21,
    }
    .graph()
    .unwrap()
}
#[test]
fn hash() {
    let sizes = [[1, 1, 1], [2, 9, 14], [1, 33, 35], [1, 90, 11]];
    for groups in 1..4usize {
        for kernel in 1..4usize {
            for (stride, dilation) in [(1, 1), (2, 1), (1, 3)] {
                for depthwise in [false, true] {
                    let graph = network(groups == 1, |g, image| {
                        let c = groups * 11;
                        let x = g.conv("first", image, Conv::pointwise(c));
                        let x = if kernel == 2 { g.activation(x, Activation::Relu) } else { x };
                        let shape = Conv {
                            kernel,
                            ..if depthwise { Conv::depthwise(c) } else { Conv::dense(groups * 17, kernel) }
                        };
                        let conv = Conv { groups: if depthwise { c } else { groups }, ..shape }
                            .stride(stride)
                            .dilation(dilation);
                        let x = g.conv_bn("conv", x, conv);
                        let x = g.activation(x, if kernel == 3 { Activation::HardSwish } else { Activation::Relu6 });
                        if depthwise { g.conv_bn("pw", x, Conv::pointwise(9)) } else { x }
                    });
                    check(&format!("conv-{groups}-{kernel}-{stride}-{dilation}-{depthwise}"), graph, &sizes[1..3]);
                }
            }
        }
    }
    check(
        "odd",
        network(true, |g, image| {
            let x = g.conv("first", image, Conv::dense(6, 3));
            let relu = g.activation(x, Activation::Relu);
            let relu6 = g.activation(x, Activation::Relu6);
            let twice = g.add(relu, relu);
            let sum = g.add(twice, relu6);
            let inner = g.concat(&[sum, image, sum]);
            let outer = g.concat(&[inner, sum]);
            let after = g.conv_bn_act("after", outer, Conv::pointwise(7), Activation::Relu6);
            let residual = g.conv_bn("residual", after, Conv::depthwise(7));
            let added = g.add(after, residual);
            let gate = g.global_pool(added);
            let gate = g.activation(gate, Activation::HardSigmoid);
            let y = g.multiply(added, gate);
            let p = g.max_pool("p", y, 3, 2, Padding::Same);
            let p = g.resize(p, y, false);
            let y = g.concat(&[p, y]);
            g.activation(y, Activation::Relu)
        }),
        &sizes,
    );
    check(
        "groups",
        network(true, |g, image| {
            let x = g.conv_bn_act("first", image, Conv::pointwise(70), Activation::Relu);
            let y = g.conv_bn("conv", x, Conv { groups: 2, ..Conv::dense(74, 3).dilation(2) });
            let skip = g.conv_bn("skip", x, Conv::pointwise(74));
            let z = g.add(y, skip);
            let w = g.conv_bn_act("w", z, Conv { groups: 2, ..Conv::dense(40, 3).stride(2) }, Activation::Relu);
            let w = g.resize(w, z, true);
            g.concat(&[w, z])
        }),
        &sizes,
    );
    check(
        "early",
        network(true, |g, image| {
            let features = g.conv_bn_act("features", image, Conv::dense(24, 3), Activation::Relu);
            let x = g.conv_bn_act("deep", features, Conv::dense(24, 3).stride(2), Activation::Relu);
            let x = g.conv_bn_act("deeper", x, Conv::dense(16, 3), Activation::Relu);
            let low_level = g.conv_bn_act("low_level", features, Conv::pointwise(12), Activation::Relu);
            let x = g.resize(x, low_level, true);
            g.concat(&[x, low_level])
        }),
        &[[1, 9, 11], [2, 300, 400]],
    );
    check(
        "wide",
        network(true, |g, image| {
            let x = g.conv_bn_act("first", image, Conv::pointwise(514), Activation::Relu);
            let y = g.conv_bn_act("dense", x, Conv::pointwise(533), Activation::Relu6);
            let x = g.conv_bn("depthwise", x, Conv::depthwise(514));
            let x = g.conv_bn("pointwise", x, Conv::pointwise(533));
            let z = g.add(x, y);
            g.conv_bn_act("three", z, Conv::dense(64, 3).dilation(6), Activation::Relu)
        }),
        &[[1, 41, 41], [2, 17, 30]],
    );
    let x = Xception::xception65();
    let low = x.low_level_tap();
    check(
        "big-xception",
        whole(Backbone::Xception(x), &[6, 12, 18], Some(low), 16, Convolution::Separable),
        &[[1, 129, 129], [1, 513, 513], [2, 97, 65]],
    );
    check(
        "big-resnet",
        whole(
            Backbone::Resnet(ResNet::resnet101_beta()),
            &[6, 12, 18],
            Some(ResNet::low_level_tap()),
            16,
            Convolution::Dense,
        ),
        &[[1, 129, 129], [1, 257, 321]],
    );
    check(
        "big-mobilenet2",
        whole(Backbone::MobilenetV2(MobileNetV2::tensorflow(1.0)), &[], None, 8, Convolution::Separable),
        &[[1, 129, 129], [2, 257, 193]],
    );
    check(
        "big-mobilenet3",
        whole(Backbone::MobilenetV3(MobileNetV3::large()), &[12, 24, 36], None, 16, Convolution::PlainSeparable),
        &[[1, 129, 129], [2, 257, 193]],
    );
}
