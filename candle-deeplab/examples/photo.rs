//! Segments one photograph: prints what is in it, and saves a picture that shows where.
//!
//! `cargo run --release --example photo -- photo.jpg`

use std::error::Error;

use candle_deeplab::candle_core::Device;
use candle_deeplab::mask::Style;
use candle_deeplab::{Segmenter, pixels};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("give the path of a photograph")?;
    let segmenter = Segmenter::new(candle_deeplab::bundled(&Device::Cpu)?);
    let segmentation = segmenter.segment(&pixels::open(path)?)?;
    for class in segmentation.found() {
        println!("{}: {:.1} %", class.name, 100.0 * class.share);
    }
    segmentation.overlay(&Style::default()).save("overlay.png")?;
    println!("wrote overlay.png");
    Ok(())
}
