//! Defines a custom network in three lines, and prints its cost.
//!
//! `cargo run --release --example custom_network`

use std::error::Error;

use candle_deeplab::candle_core::{DType, Device, Tensor};
use candle_deeplab::config::Backbone;
use candle_deeplab::{Config, DeepLab};
use candle_nn::{Module, VarBuilder, VarMap};

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::deeplabv3plus(Backbone::mobilenet_v2(0.5), 5);
    let vars = VarMap::new();
    let model = DeepLab::new(&config, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;

    let summary = model.graph().summary(257, 257)?;
    println!("{} parameters, {} multiply-adds for 257×257 pixels", summary.params, summary.macs);
    let pixels = Tensor::zeros((1, 3, 257, 257), DType::F32, &Device::Cpu)?;
    println!("logits {:?}", model.forward(&pixels)?.dims());
    println!("{} of {} variables are to be trained", model.trainable(&vars)?.len(), vars.all_vars().len());
    Ok(())
}
