//! Times what a training reads: `cargo run --release -p candle-deeplab-train --example loader -- camvid [HEIGHT WIDTH]`.
//!
//! It prints the milliseconds that one thread takes to read an image with its label map and to augment it, and the images
//! per second of the loader with 1 and 2 threads.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use candle_deeplab::config::{Filter, Preprocessing, SizeRule};
use candle_deeplab_train::augment::{self, Augment, Photometric};
use candle_deeplab_train::data::{Dataset, Pair, Source};
use candle_deeplab_train::{Result, loader};

/// The most images that are held in memory.
const IMAGES: usize = 200;
const BATCHES: usize = 50;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or("camvid".into()));
    let mut side = |default| args.next().and_then(|side| side.parse().ok()).unwrap_or(default);
    let crop = [side(360), side(480)];
    let dataset = Arc::new(Dataset::open(&Source::new(dir), "train")?);
    let size = SizeRule::Native { height: 1, width: 1 };
    let (mean, filter) = ([127.5; 3], Filter::Bilinear);
    let preprocessing = Preprocessing { mean, std: mean, pad_value: mean, size, filter };
    let images = IMAGES.min(dataset.len());
    let each = |start: Instant| start.elapsed().as_secs_f64() * 1e3 / images as f64;

    let start = Instant::now();
    let pairs = (0..images).map(|index| dataset.read(index)).collect::<Result<Vec<Pair>>>()?;
    println!("read: {:.2} ms an image", each(start));
    for (what, photometric) in [("scale, crop, flip", None), ("the same and colours", Some(Photometric::default()))] {
        let augment = Augment::new(&augment::Recipe { crop, photometric, ..Default::default() }, &preprocessing)?;
        let start = Instant::now();
        for (place, pair) in pairs.iter().enumerate() {
            black_box(augment.apply(pair, 1, 0, place));
        }
        println!("{what}: {:.2} ms an image", each(start));
    }
    for threads in [1, 2] {
        let augment = augment::Recipe { crop, ..Default::default() };
        let recipe = loader::Recipe { batch: 8, threads, ..Default::default() };
        let loader = loader::Loader::new(dataset.clone(), &augment, &preprocessing, &recipe, 1, 0)?;
        let start = Instant::now();
        for batch in loader.take(BATCHES) {
            black_box(batch?);
        }
        let rate = (BATCHES * recipe.batch) as f64 / start.elapsed().as_secs_f64();
        println!("loader with {threads} threads: {rate:.0} images/s");
    }
    Ok(())
}
