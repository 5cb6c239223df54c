//! Tests of augmentation's geometry.

use candle_deeplab::config::{Filter, SizeRule};
use image::imageops::{self, FilterType};

use super::*;
use crate::error::Error;

fn preprocessing() -> Preprocessing {
    let size = SizeRule::Native { height: 1, width: 1 };
    Preprocessing { mean: [127.5; 3], std: [127.5; 3], pad_value: [1.0, 2.4, 300.0], size, filter: Filter::Bilinear }
}

fn augment(recipe: &Recipe) -> Augment {
    Augment::new(recipe, &preprocessing()).unwrap()
}

/// Blocks of 16 by 16 pixels, whose colour says which class they have.
fn blocks(height: u32, width: u32) -> Pair {
    let class = |x: u32, y: u32| ((x / 16) * 7 + (y / 16) * 3) % 11;
    let image = RgbImage::from_fn(width, height, |x, y| color(class(x, y) as u8));
    Pair { image, labels: GrayImage::from_fn(width, height, |x, y| Luma([class(x, y) as u8])) }
}

fn color(class: u8) -> Rgb<u8> {
    Rgb([20 * class, 255 - 20 * class, if class.is_multiple_of(2) { 200 } else { 50 }])
}

/// A smooth picture without symmetry.
fn photo(width: u32, height: u32) -> RgbImage {
    let value = |x: u32, y: u32, a: f32, b: f32| (127.0 + 120.0 * (x as f32 * a + y as f32 * b).sin()) as u8;
    RgbImage::from_fn(width, height, |x, y| Rgb([value(x, y, 0.3, 0.1), value(x, y, 0.05, 0.4), value(x, y, 0.7, 0.6)]))
}

fn axis(length: usize, scaled: usize, first: usize, count: usize) -> Axis {
    Axis::at(length, scaled, first, count)
}

#[test]
fn image_and_labels_move_together() {
    let pair = blocks(120, 160);
    let recipe = Recipe { crop: [96, 128], ..Recipe::default() };
    let augment = augment(&recipe);
    let (mut right, mut judged, mut seen) = (0, 0, std::collections::BTreeSet::new());
    for place in 0..60 {
        let Sample { image, labels, valid } = augment.apply(&pair, 3, 0, place);
        assert_eq!((image.dimensions(), labels.dimensions()), ((128, 96), (128, 96)));
        for (x, y, label) in labels.enumerate_pixels() {
            let is_inside = (y as usize) < valid.height && (x as usize) < valid.width;
            assert_eq!(label.0[0] == IGNORE, !is_inside);
            if is_inside {
                judged += 1;
                let near = image.get_pixel(x, y).0.iter().zip(color(label.0[0]).0).all(|(a, b)| a.abs_diff(b) <= 40);
                right += u32::from(near);
            } else {
                assert_eq!(image.get_pixel(x, y).0, [1, 2, 255]);
            }
        }
        seen.insert((valid.height, valid.width));
    }
    // Only the pixels at the blocks' borders have a colour between two.
    assert!(f64::from(right) > 0.9 * f64::from(judged), "{right} of {judged}");
    assert!(seen.len() > 10, "{seen:?}");
}

#[test]
fn a_scaled_crop_is_a_crop_of_the_scaled_image() {
    let photo = photo(53, 41);
    for (scaled_width, scaled_height) in [(53, 41), (27, 20), (106, 82), (61, 90), (40, 41), (11, 7)] {
        let whole = imageops::resize(&photo, scaled_width, scaled_height, FilterType::Triangle);
        let (x, y) = (scaled_width / 3, scaled_height / 4);
        let (width, height) = (scaled_width - x, scaled_height - y - 1);
        let rows = axis(41, scaled_height as usize, y as usize, height as usize);
        let columns = axis(53, scaled_width as usize, x as usize, width as usize);
        let mut window = Window { rows, columns };
        for is_flipped in [false, true] {
            let mut expected = imageops::crop_imm(&whole, x, y, width, height).to_image();
            if is_flipped {
                window.columns.reverse();
                imageops::flip_horizontal_in_place(&mut expected);
            }
            let mut crop = RgbImage::new(width, height);
            window.image(&photo, &mut crop);
            let most = crop.iter().zip(expected.iter()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(most <= Some(1), "{scaled_width}×{scaled_height}: {most:?}");
        }
    }
}

#[test]
fn labels_are_the_nearest_and_never_mixed() {
    let labels = GrayImage::from_fn(4, 2, |x, y| Luma([(10 * y + x) as u8]));
    let window = |w: usize, h: usize| Window { rows: axis(2, h, 0, h), columns: axis(4, w, 0, w) };
    let scaled = |w: usize, h: usize| {
        let mut to = GrayImage::new(w as u32, h as u32);
        window(w, h).labels(&labels, &mut to);
        to.into_raw()
    };
    assert_eq!(scaled(4, 2), [0, 1, 2, 3, 10, 11, 12, 13]);
    assert_eq!(scaled(8, 1), [10, 10, 11, 11, 12, 12, 13, 13]);
    assert_eq!(scaled(2, 2), [1, 3, 11, 13]);
    let mut counts = [0; 256];
    labels.iter().for_each(|id| counts[usize::from(*id)] += 2);
    assert_eq!(window(8, 2).histogram(&labels), counts);
}

#[test]
fn a_sample_without_changes_is_the_image() {
    let pair = blocks(40, 60);
    let scale = Scale { min: 1.0, max: 1.0, step: None };
    let recipe = Recipe { crop: [40, 60], scale, flip: 0.0, cat_max_ratio: 1.0, ..Recipe::default() };
    let sample = augment(&recipe).apply(&pair, 1, 2, 3);
    assert_eq!((sample.image, sample.labels), (pair.image, pair.labels));
}

#[test]
fn crops_of_one_class_are_drawn_again() {
    // The right half is all class 1, a stripe on the left is class 2.
    let labels = GrayImage::from_fn(400, 20, |x, _| Luma([if x < 60 && x % 2 == 0 { 2 } else { 1 }]));
    let pair = Pair { image: RgbImage::new(400, 20), labels };
    let scale = Scale { min: 1.0, max: 1.0, step: None };
    let mixed = |cat_max_ratio| {
        let recipe = Recipe { crop: [20, 20], scale, cat_max_ratio, ..Recipe::default() };
        let augment = augment(&recipe);
        let is_mixed = |place: &usize| is_mixed(&histogram(&augment.apply(&pair, 1, 0, *place).labels), 0.75);
        (0..200).filter(is_mixed).count()
    };
    let (any, wanted) = (mixed(1.0), mixed(0.75));
    // One crop in nine is mixed; of eleven draws, one is with a probability of 0.7.
    assert!(any < 40 && wanted > 110, "{any} and {wanted}");
    assert!(!is_mixed(&histogram(&GrayImage::from_pixel(4, 4, Luma([3]))), 0.99));
    assert!(!is_mixed(&histogram(&GrayImage::from_pixel(4, 4, Luma([IGNORE]))), 0.75));
}

fn histogram(labels: &GrayImage) -> [u32; 256] {
    let mut counts = [0; 256];
    labels.iter().for_each(|id| counts[usize::from(*id)] += 1);
    counts
}

#[test]
fn scales_are_those_of_the_recipe() {
    let mut random = crate::random::named(5, "scales");
    let steps = Scale { step: Some(0.25), ..Scale::default() };
    let mut seen = std::collections::BTreeMap::<u64, u32>::new();
    for _ in 0..700 {
        *seen.entry((100.0 * steps.draw(&mut random)).round() as u64).or_default() += 1;
    }
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [50, 75, 100, 125, 150, 175, 200]);
    assert!(seen.values().all(|count| (60..140).contains(count)), "{seen:?}");
    let draws: Vec<f64> = (0..700).map(|_| Scale::default().draw(&mut random)).collect();
    assert!(draws.iter().all(|scale| (0.5..=2.0).contains(scale)));
    assert!(draws.iter().any(|scale| *scale < 0.55) && draws.iter().any(|scale| *scale > 1.95));
    let one = Scale { min: 1.0, max: 1.0, step: Some(0.25) };
    assert_eq!(one.draw(&mut random), 1.0);
}

/// `rescale_size` of mmcv for `scale=(2048, 512)`.
#[test]
fn images_are_fitted_as_mmsegmentation_does() {
    let recipe = Recipe { fit: Some([512, 2048]), ..Recipe::default() };
    assert_eq!(recipe.fitted(500, 375), 512.0 / 375.0);
    assert_eq!(recipe.fitted(100, 1000), 2.048);
    assert_eq!(Recipe::default().fitted(3, 5), 1.0);
}

#[test]
fn a_sample_depends_on_its_seed_batch_and_place() {
    let pair = blocks(64, 64);
    let recipe = Recipe { crop: [32, 32], photometric: Some(Photometric::default()), ..Recipe::default() };
    let augment = augment(&recipe);
    let base = augment.apply(&pair, 1, 2, 3);
    assert_eq!(augment.apply(&pair, 1, 2, 3), base);
    for (seed, batch, place) in [(2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 3, 2)] {
        assert!(augment.apply(&pair, seed, batch, place) != base, "{seed} {batch} {place}");
    }
}

#[test]
fn impossible_recipes_name_the_setting() {
    let wrong = |text: &str| {
        let recipe: Recipe = toml::from_str(text).unwrap();
        let error = Augment::new(&recipe, &preprocessing()).unwrap_err();
        assert!(
            matches!(&error, Error::Recipe { setting, .. } if text.contains(&setting["augment.".len()..])),
            "{error}"
        );
    };
    let settings = [
        "crop = [0, 5]",
        "crop = [5, 99999]",
        "scale = { min = 0.0 }",
        "scale = { min = 3.0 }",
        "scale = { max = nan }",
        "scale.step = 0.0",
        "fit = [0, 9]",
        "cat_max_ratio = 0.0",
        "cat_max_ratio = nan",
        "flip = 1.5",
        "photometric.brightness = 256.0",
        "photometric.contrast = [2.0, 1.0]",
        "photometric.saturation = [-1.0, 1.0]",
        "photometric.hue = 181.0",
    ];
    settings.into_iter().for_each(wrong);
    for unknown in ["cropp = [5, 5]", "scale.least = 1.0", "photometric.gamma = 1.0"] {
        assert!(toml::from_str::<Recipe>(unknown).is_err(), "{unknown}");
    }
}
