#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
use candle_core::{Device, Tensor};
use candle_deeplab::Result;
use candle_deeplab::arch::{ResNet, Xception};
use candle_deeplab::config::{Aspp, Backbone, ConcatOrder, Convolution, Decoder, ImagePooling, Network, Normalization};
use candle_deeplab::exec::cpu::Cpu;
use candle_deeplab::exec::{Isa, Precision};
use candle_deeplab::graph::{Graph, Param, Role};
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
fn time() {
    use std::time::Instant;
    let runs: usize = std::env::var("RUNS").ok().and_then(|r| r.parse().ok()).unwrap_or(15);
    let x = Xception::xception65();
    let low = x.low_level_tap();
    let nets = [
        ("xception", whole(Backbone::Xception(x), &[6, 12, 18], Some(low), 16, Convolution::Separable)),
        (
            "resnet",
            whole(
                Backbone::Resnet(ResNet::resnet101_beta()),
                &[6, 12, 18],
                Some(ResNet::low_level_tap()),
                16,
                Convolution::Dense,
            ),
        ),
    ];
    let image = Tensor::from_vec(hashed("image", 3 * 513 * 513), (1, 3, 513, 513), &Device::Cpu).unwrap();
    for (name, graph) in nets {
        let graph = Arc::new(graph);
        for isa in [Isa::Avx512, Isa::Avx2] {
            let start = Instant::now();
            let cpu = Cpu::new(graph.clone(), isa, Precision::F32, weight).unwrap();
            let packed = start.elapsed().as_secs_f64() * 1e3;
            cpu.label_map(&image).unwrap();
            let mut times: Vec<f64> = (0..runs)
                .map(|_| {
                    let s = Instant::now();
                    cpu.label_map(&image).unwrap();
                    s.elapsed().as_secs_f64() * 1e3
                })
                .collect();
            times.sort_by(f64::total_cmp);
            println!("TIME {name} {isa} pack {packed:.0} min {:.1} median {:.1}", times[0], times[runs / 2]);
        }
    }
}
