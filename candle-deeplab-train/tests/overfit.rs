//! A network learns a dozen tiny images by heart.

#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::fs;
use std::path::Path;

use candle_core::Device;
use candle_deeplab_train::recipe::Recipe;
use candle_deeplab_train::run::{Event, Job, train};
use image::{GrayImage, Luma, Rgb, RgbImage};

const RECIPE: &str = r#"
seed = 1

[data]
kind = "folder"

[model]
backbone = "mobilenet_v2"
depth_multiplier = 0.35

[model.aspp]
width = 16
rates = [1, 2]

[model.decoder]
low_level_width = 8
widths = [16]

[augment]
crop = [65, 65]
scale = { min = 1.0, max = 1.0 }
flip = 0.0

[loader]
batch = 6

[schedule]
steps = 120
base_rate = 0.1
warm_up = { steps = 10 }

[train]
dropout = 0.0

[validate]
split = "train"
every = 40
"#;

/// A disc and a rectangle on a background of noise: the colours do not say the classes, the shapes do.
fn scene(index: u32) -> (RgbImage, GrayImage) {
    const SIDE: u32 = 65;
    let class = |x: u32, y: u32| {
        let (cx, cy) = (18 + 7 * index % 30, 20 + 11 * index % 25);
        let (dx, dy) = (x.abs_diff(cx), y.abs_diff(cy));
        let inside = (x / 3 + 5 * index) % 22 > 14 && y > 30;
        if dx * dx + dy * dy < 150 { 1 } else { 2 * u8::from(inside) }
    };
    let noise = |x: u32, y: u32| ((x * 7919 + y * 104_729 + index * 31) % 61) as u8;
    let color = |x, y| match class(x, y) {
        0 => Rgb([noise(x, y), 40, 60]),
        1 => Rgb([150 + noise(y, x), 90 + 10 * index as u8, 60]),
        _ => Rgb([150 + noise(x, y), 90 + 10 * (11 - index as u8), 200]),
    };
    (RgbImage::from_fn(SIDE, SIDE, color), GrayImage::from_fn(SIDE, SIDE, |x, y| Luma([class(x, y)])))
}

fn write_data(dir: &Path) {
    let [images, labels] = ["images/train", "labels/train"].map(|folder| dir.join(folder));
    fs::create_dir_all(&images).unwrap();
    fs::create_dir_all(&labels).unwrap();
    fs::write(dir.join("labels.txt"), "background\ndisc\nbar\n").unwrap();
    for index in 0..12 {
        let (image, map) = scene(index);
        image.save(images.join(format!("{index}.png"))).unwrap();
        map.save(labels.join(format!("{index}.png"))).unwrap();
    }
}

#[test]
fn a_dozen_images_are_learnt_by_heart() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    write_data(&data);
    let mut recipe = Recipe::parse(RECIPE, Path::new("overfit.toml"), &[]).unwrap();
    recipe.data.dir = data;
    let out = dir.path().join("run");
    let job = Job { recipe, start: None, out: out.clone(), device: Device::Cpu, resume: false, stop_at: None };
    let mut mious = vec![];
    train(job, &|| false, &mut |event| {
        if let Event::Validated { miou, .. } = event {
            mious.push(miou);
        }
    })
    .unwrap();
    let log = fs::read_to_string(out.join("log.jsonl")).unwrap();
    let last: serde_json::Value = log.lines().last().map(|line| serde_json::from_str(line).unwrap()).unwrap();
    let accuracy = last["pixel_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.95, "pixel accuracy {accuracy}, mIoU {mious:?}");
}
