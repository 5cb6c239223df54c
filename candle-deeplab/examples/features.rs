//! Uses the backbone's features as the input of another candle model, here an untrained classifier of whole images.
//!
//! `cargo run --release --example features -- photo.jpg`

use std::error::Error;

use candle_deeplab::candle_core::{DType, Device};
use candle_deeplab::pixels;
use candle_nn::{Module, VarBuilder, VarMap, linear};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("give the path of a photograph")?;
    let model = candle_deeplab::bundled(&Device::Cpu)?;
    let image = model.config().preprocessing.prepare(&pixels::open(path)?.to_rgb8(), &Device::Cpu)?;
    // [1, 320, 33, 33]: MobileNetV2's last features, a sixteenth of the input's size.
    let features = model.taps(&image.pixels, &["backbone"])?.remove(0);
    println!("features {:?}", features.dims());

    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let classifier = linear(features.dim(1)?, 10, vb)?;
    let scores = classifier.forward(&features.mean((2, 3))?)?;
    println!("scores {:?}", scores.dims());
    Ok(())
}
