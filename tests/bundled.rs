//! The bundled model: its results on photographs, and that it is what the converter makes of Google's file.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "support/converter.rs"]
mod converter;
mod support;

use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_deeplab::{DeepLab, Segmentation, Segmenter};
use converter::convert;
use support::shared::shared;

/// The file that it was converted from, and the converter's options.
const SOURCE: &str = "real/deeplabv3_mnv2_pascal_quant.tflite";
const FLAGS: [&str; 4] = ["--license", "apache-2.0", "--dataset", "voc"];

fn in_repository(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

fn segment(model: DeepLab, photo: &Path) -> Segmentation {
    Segmenter::new(model).segment(&candle_deeplab::pixels::open(photo).unwrap()).unwrap()
}

fn bundled() -> DeepLab {
    candle_deeplab::bundled(&Device::Cpu).unwrap()
}

/// The share of pixels that have the same class in both label maps.
fn agreement(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

#[test]
fn it_finds_the_cat_and_the_astronaut() {
    for (photo, class, at_least) in [("cat.jpg", "cat", 0.6), ("astronaut.jpg", "person", 0.4)] {
        let found = segment(bundled(), &in_repository("examples/photos").join(photo)).found();
        let share = found.iter().find(|found| found.name == class).map_or(0.0, |found| found.share);
        assert!(share >= at_least, "{photo}: {found:?}");
    }
}

/// LiteRT runs the same file in integer arithmetic; its label maps are stored with the pictures.
#[test]
fn its_label_maps_are_those_of_litert_but_for_rounding() {
    let Some(golden) = shared("real/golden/litert") else { return };
    for (picture, at_least) in [("bird_photo", 0.996), ("cat", 0.989)] {
        let answer = golden.join(format!("deeplabv3_mnv2_pascal_quant__{picture}.png"));
        let expected = image::open(answer).unwrap().to_luma8();
        let found = segment(bundled(), &golden.join(format!("{picture}.png")));
        let same = agreement(found.ids(), expected.as_raw());
        println!("{picture}: {:.3} %", 100.0 * same);
        assert!(same >= at_least, "{picture}: {same}");
    }
}

#[test]
fn half_precision_changes_next_to_nothing() {
    let Some(source) = shared(SOURCE) else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    convert(&source, &out, &FLAGS);
    let mut photos = vec![in_repository("examples/photos/cat.jpg"), in_repository("examples/photos/astronaut.jpg")];
    photos.extend(shared("real/golden/litert/bird_photo.png"));
    for photo in photos {
        let whole = segment(DeepLab::load(&out, &Device::Cpu).unwrap(), &photo);
        let same = agreement(segment(bundled(), &photo).ids(), whole.ids());
        println!("{}: {:.3} %", photo.display(), 100.0 * same);
        assert!(same >= 0.999, "{}: {same}", photo.display());
    }
}

/// `assets/bundled` is what this converter writes, byte for byte.
#[test]
fn it_is_made_by_the_command_in_its_card() {
    let Some(source) = shared(SOURCE) else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    convert(&source, &out, &[&FLAGS[..], &["--dtype", "f16"]].concat());
    for file in ["config.json", "model.safetensors"] {
        let kept = in_repository("candle-deeplab/assets/bundled").join(file);
        assert!(std::fs::read(out.join(file)).unwrap() == std::fs::read(kept).unwrap(), "{file} is out of date");
    }
}
