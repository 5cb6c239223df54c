//! Segments a folder of photographs, several at once.
//!
//! `cargo run --release --example folder -- photos`
//!
//! One segmenter serves all threads. The network keeps all cores busy with a single image; the gain here is that other
//! files are read and decoded meanwhile.

use std::error::Error;
use std::path::{Path, PathBuf};

use candle_deeplab::candle_core::Device;
use candle_deeplab::{Segmenter, pixels};
use rayon::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("give the path of a folder")?;
    let files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    let segmenter = Segmenter::new(candle_deeplab::bundled(&Device::Cpu)?);
    files.par_iter().for_each(|file| match classes(&segmenter, file) {
        Ok(classes) => println!("{}: {classes}", file.display()),
        Err(error) => eprintln!("{error}"),
    });
    Ok(())
}

fn classes(segmenter: &Segmenter, file: &Path) -> candle_deeplab::Result<String> {
    let segmentation = segmenter.segment(&pixels::open(file)?)?;
    let names: Vec<String> = segmentation.found().into_iter().map(|class| class.name).collect();
    Ok(names.join(", "))
}
