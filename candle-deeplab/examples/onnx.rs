//! Exports the bundled model as an ONNX file, for other runtimes.
//!
//! `cargo run --release --example onnx`

use std::error::Error;
use std::io::Write;

use candle_deeplab::candle_core::Device;
use candle_deeplab::{atomic, onnx};

fn main() -> Result<(), Box<dyn Error>> {
    let model = candle_deeplab::bundled(&Device::Cpu)?;
    let bytes = onnx::export(&model, (513, 513), onnx::Head::Mask)?;
    atomic::write_new("bundled.onnx", |file| file.write_all(&bytes))?;
    println!("wrote bundled.onnx, {} bytes", bytes.len());
    Ok(())
}
