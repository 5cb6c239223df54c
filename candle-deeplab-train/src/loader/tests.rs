//! Tests of the loader: what a batch is does not depend on who makes it.

use std::collections::BTreeMap;
use std::time::Duration;

use candle_core::DType;
use candle_deeplab::config::{Filter, SizeRule};
use image::{GrayImage, Luma, Rgb, RgbImage};

use super::*;
use crate::data::tests::Folder;

fn preprocessing() -> Preprocessing {
    let size = SizeRule::Native { height: 1, width: 1 };
    let (mean, std) = ([123.0, 116.0, 103.0], [58.0, 57.0, 56.0]);
    Preprocessing { mean, std, pad_value: mean, size, filter: Filter::Bilinear }
}

/// As many images, each of its own colour and class.
fn folder(count: u8) -> Folder {
    let folder = Folder::new();
    for i in 0..count {
        let image = RgbImage::from_fn(20, 16, |x, y| Rgb([i, (x * 10) as u8, (y * 10) as u8]));
        let labels = GrayImage::from_fn(20, 16, |x, _| Luma([if x < 10 { i } else { 0 }]));
        folder.image(&format!("images/train/{i}.png"), &image).labels(&format!("labels/train/{i}.png"), &labels);
    }
    folder
}

fn augmentation() -> augment::Recipe {
    augment::Recipe { crop: [12, 14], photometric: Some(augment::Photometric::default()), ..Default::default() }
}

fn loader(folder: &Folder, recipe: Recipe, seed: u64, first: u64) -> Result<Loader> {
    let dataset = Arc::new(Dataset::open(&folder.source(), "train")?);
    Loader::new(dataset, &augmentation(), &preprocessing(), &recipe, seed, first)
}

const RECIPE: Recipe = Recipe { batch: 3, threads: 1, ahead: 2, on_error: OnError::Skip };

/// All that is in a batch.
type Content = (u64, Vec<f32>, Vec<u8>, Vec<usize>);

fn contents(loader: Loader, count: usize) -> Vec<Content> {
    let content = |batch: Result<Batch>| {
        let Batch { number, pixels, labels, samples, .. } = batch.unwrap();
        assert_eq!((pixels.dims(), pixels.dtype()), (&[3, 3, 12, 14][..], DType::F32));
        assert_eq!((labels.dims(), labels.dtype()), (&[3, 12, 14][..], DType::U8));
        let values = pixels.flatten_all().unwrap().to_vec1().unwrap();
        (number, values, labels.flatten_all().unwrap().to_vec1().unwrap(), samples)
    };
    loader.take(count).map(content).collect()
}

#[test]
fn batches_do_not_depend_on_threads_or_where_a_run_resumes() {
    let folder = folder(7);
    let load = |recipe, first, count| contents(loader(&folder, recipe, 42, first).unwrap(), count);
    let all = load(RECIPE, 0, 12);
    for (threads, ahead) in [(2, 2), (4, 9), (8, 1)] {
        assert!(load(Recipe { threads, ahead, ..RECIPE }, 0, 12) == all, "{threads} threads, {ahead} ahead");
    }
    for first in [1, 5, 11] {
        assert!(load(Recipe { threads: 2, ..RECIPE }, first as u64, 12 - first) == all[first..], "from {first}");
    }
    let other = contents(loader(&folder, RECIPE, 43, 0).unwrap(), 12);
    assert!(other != all && all[0].3 != all[2].3);
}

#[test]
fn an_epoch_has_each_sample_once_and_batches_reach_into_the_next() {
    let folder = folder(7);
    let loader = loader(&folder, RECIPE, 1, 0).unwrap();
    assert_eq!(loader.batches_per_epoch(), 7.0 / 3.0);
    let samples: Vec<usize> = contents(loader, 14).into_iter().flat_map(|content| content.3).collect();
    let mut orders = std::collections::BTreeSet::new();
    for epoch in samples.chunks_exact(7) {
        let mut sorted = epoch.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6]);
        orders.insert(epoch.to_vec());
    }
    assert_eq!(orders.len(), 6);
}

#[test]
fn pixels_are_preprocessed_as_for_inference() {
    let folder = folder(1);
    let dataset = Arc::new(Dataset::open(&folder.source(), "train").unwrap());
    let scale = augment::Scale { min: 1.0, max: 1.0, step: None };
    let augment = augment::Recipe { crop: [20, 24], scale, flip: 0.0, ..Default::default() };
    let recipe = Recipe { batch: 1, ..RECIPE };
    let preprocessing = Preprocessing { size: SizeRule::Native { height: 20, width: 24 }, ..preprocessing() };
    let batch = Loader::new(dataset.clone(), &augment, &preprocessing, &recipe, 1, 0).unwrap().next().unwrap().unwrap();
    let expected = preprocessing.prepare(&dataset.read_image(0).unwrap(), &candle_core::Device::Cpu).unwrap();
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(&batch.pixels), values(&expected.pixels));
}

#[test]
fn a_corrupt_file_in_an_epoch_is_replaced_by_the_next_sample_and_said() {
    let folder = folder(7);
    let whole = contents(loader(&folder, RECIPE, 9, 0).unwrap(), 7);
    let order: Vec<usize> = whole.iter().flat_map(|content| content.3.clone()).collect();
    let damaged = order[4];
    let mut jpeg = std::io::Cursor::new(vec![]);
    RgbImage::from_pixel(20, 16, Rgb([1, 2, 3])).write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    folder.write(&format!("images/train/{damaged}.png"), &jpeg[..jpeg.len() * 3 / 4]);
    let mut seen = vec![];
    for threads in [1, 3] {
        let recipe = Recipe { threads, ..RECIPE };
        let (mut skipped, mut samples) = (BTreeMap::new(), vec![]);
        for batch in loader(&folder, recipe, 9, 0).unwrap().take(7) {
            let batch = batch.unwrap();
            samples.extend(batch.samples);
            for Skipped { sample, error } in batch.skipped {
                assert!(error.to_string().contains(&format!("{damaged}.png")), "{error}");
                *skipped.entry(sample).or_insert(0) += 1;
            }
        }
        // Once in each of three epochs; the samples of all other places are those of the whole set.
        assert_eq!(skipped, [(damaged, 3)].into());
        assert_eq!(samples.len(), order.len());
        for (place, (sample, before)) in samples.iter().zip(&order).enumerate() {
            let expected = if *before == damaged { order.get(place + 1) } else { Some(before) };
            assert!(expected.is_none_or(|expected| expected == sample), "place {place}");
        }
        seen.push(samples);
    }
    assert_eq!(seen[0], seen[1]);
    let strict = Recipe { on_error: OnError::Fail, threads: 2, ..RECIPE };
    let results: Vec<bool> = loader(&folder, strict, 9, 0).unwrap().take(7).map(|batch| batch.is_ok()).collect();
    let without: Vec<bool> = whole.iter().map(|content| !content.3.contains(&damaged)).collect();
    assert_eq!(results, without);
}

#[test]
fn a_fault_of_the_set_is_never_skipped() {
    let folder = folder(3);
    folder.write("labels.txt", "a\nb");
    let error = loader(&folder, RECIPE, 1, 0).unwrap().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("id 2"), "{error}");
}

#[test]
fn a_set_of_which_nothing_can_be_read_is_an_error() {
    let folder = folder(3);
    let dataset = Arc::new(Dataset::open(&folder.source(), "train").unwrap());
    for i in 0..3 {
        folder.write(&format!("images/train/{i}.png"), "nothing");
    }
    let mut loader = Loader::new(dataset, &augmentation(), &preprocessing(), &RECIPE, 1, 0).unwrap();
    let error = loader.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("none of 3 samples") && error.contains("images/train"), "{error}");
}

#[test]
fn no_more_batches_are_made_than_may_be_ahead() {
    let folder = folder(4);
    let mut loader = loader(&folder, Recipe { threads: 4, ahead: 3, ..RECIPE }, 1, 0).unwrap();
    for taken in 0..5 {
        let made = || loader.queue.made();
        // All that may be made is made in the end, and not more.
        let mut tries = 0;
        while made() < taken + 3 && tries < 500 {
            std::thread::sleep(Duration::from_millis(10));
            tries += 1;
        }
        assert_eq!(made(), taken + 3);
        loader.next().unwrap().unwrap();
    }
}

#[test]
fn dropping_a_loader_ends_its_threads() {
    let folder = folder(4);
    let dataset = Arc::new(Dataset::open(&folder.source(), "train").unwrap());
    let recipe = Recipe { threads: 3, ..RECIPE };
    for batches in [0, 1, 4] {
        let loader = Loader::new(dataset.clone(), &augmentation(), &preprocessing(), &recipe, 1, 0).unwrap();
        assert_eq!(loader.take(batches).filter(|batch| batch.is_ok()).count(), batches);
        // The threads shared it.
        assert_eq!(Arc::strong_count(&dataset), 1);
    }
}

#[test]
fn impossible_recipes_name_the_setting() {
    let folder = folder(1);
    for (recipe, setting) in [
        (Recipe { batch: 0, ..RECIPE }, "loader.batch"),
        (Recipe { batch: 5000, ..RECIPE }, "loader.batch"),
        (Recipe { threads: 0, ..RECIPE }, "loader.threads"),
        (Recipe { ahead: 0, ..RECIPE }, "loader.ahead"),
    ] {
        let error = loader(&folder, recipe, 1, 0).unwrap_err().to_string();
        assert!(error.starts_with(setting), "{error}");
    }
    let large = Recipe { batch: 4096, ahead: 256, ..RECIPE };
    assert!(large.validate([16384, 16384]).unwrap_err().to_string().contains("GiB"));
    assert!(toml::from_str::<Recipe>("batch_size = 4").is_err());
    assert_eq!(toml::from_str::<Recipe>("on_error = 'fail'").unwrap().on_error, OnError::Fail);
}
