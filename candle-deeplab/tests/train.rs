//! A network that is built in code can be trained.

#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use candle_core::{DType, Device, Tensor};
use candle_deeplab::config::Backbone;
use candle_deeplab::{Config, DeepLab};
use candle_nn::{AdamW, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, loss};

#[test]
fn the_loss_falls_from_a_real_initialisation() {
    let (classes, side) = (3, 33);
    let config = Config::deeplabv3(Backbone::mobilenet_v2(0.35), classes);
    let vars = VarMap::new();
    let model = DeepLab::new(&config, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu)).unwrap();
    let trainable = model.trainable(&vars).unwrap();
    assert!(trainable.len() < vars.all_vars().len(), "moving statistics are not trained");

    // An image whose left, middle and right thirds are the three classes, each in its own colour.
    let class = |pixel: usize| (3 * (pixel % side) / side) as u32;
    let colors: Vec<f32> = (0..3)
        .flat_map(|channel| (0..side * side).map(move |p| if class(p) == channel { 1.0 } else { -1.0 }))
        .collect();
    let pixels = Tensor::from_vec(colors, (1, 3, side, side), &Device::Cpu).unwrap();
    let wanted = Tensor::from_iter((0..side * side).map(class), &Device::Cpu).unwrap();
    let params = ParamsAdamW { lr: 1e-3, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(trainable, params).unwrap();
    let mut losses = vec![];
    for _ in 0..20 {
        let logits = model.forward(&pixels).unwrap().permute((0, 2, 3, 1)).unwrap();
        let loss = loss::cross_entropy(&logits.reshape((side * side, classes)).unwrap(), &wanted).unwrap();
        optimizer.backward_step(&loss).unwrap();
        losses.push(loss.to_scalar::<f32>().unwrap());
    }
    // An untrained network's loss is about the logarithm of the number of classes, or somewhat more.
    assert!((0.5..5.0).contains(&losses[0]), "{losses:?}");
    assert!(losses[19] < 0.5 * losses[0], "{losses:?}");
}
