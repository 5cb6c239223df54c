use candle_core::{DType, Device, Tensor};

use super::*;
use crate::Error;

/// Values in (−1, 1) from a splitmix64 stream.
struct Stream(u64);

impl Stream {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn value(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Logits in (−4, 4), `[N, C, h, w]`.
fn logits(shape: [usize; 4]) -> Tensor {
    let mut stream = Stream(shape.iter().fold(1, |seed, &size| seed * 1_000 + size as u64));
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| 4.0 * stream.value()).collect();
    Tensor::from_vec(values, &shape, &Device::Cpu).unwrap()
}

/// Random labels, of which about a seventh is ignored. The first two rows of each image are ignored as a whole.
fn labels([images, height, width]: [usize; 3], classes: usize) -> Tensor {
    let mut stream = Stream(99);
    let label = |i: usize| {
        let random = stream.bits();
        let ignored = random.is_multiple_of(7) || i / width % height < 2;
        if ignored { 255 } else { (random / 7 % classes as u64) as u8 }
    };
    let ids: Vec<u8> = (0..images * height * width).map(label).collect();
    Tensor::from_vec(ids, (images, height, width), &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn loss(recipe: &Recipe, classes: usize) -> Loss {
    Loss::new(recipe, classes).unwrap()
}

/// A recipe of one term.
fn only(change: impl FnOnce(&mut Recipe)) -> Recipe {
    let mut recipe = Recipe::default();
    recipe.cross_entropy.weight = 0.0;
    change(&mut recipe);
    recipe
}

/// Every kind of loss, for `classes` classes.
fn recipes(classes: usize) -> Vec<(&'static str, Recipe)> {
    let weights: Vec<f64> = (0..classes).map(|class| 0.5 + (class % 5) as f64 * 0.3).collect();
    let cross_entropy = |change: fn(&mut CrossEntropy)| {
        let mut recipe = Recipe::default();
        recipe.cross_entropy.class_weights = weights.clone();
        change(&mut recipe.cross_entropy);
        recipe
    };
    let hard = |hard: HardPixels| {
        let mut recipe = Recipe::default();
        recipe.cross_entropy.hard_pixels = Some(hard);
        recipe
    };
    vec![
        ("cross-entropy", Recipe::default()),
        ("weighted", cross_entropy(|_| {})),
        ("smoothed", cross_entropy(|term| term.label_smoothing = 0.1)),
        ("top k", hard(HardPixels::TopK { share: 0.3, ramp: 20 })),
        ("weighted and smoothed top k", {
            let mut recipe = cross_entropy(|term| term.label_smoothing = 0.2);
            recipe.cross_entropy.hard_pixels = Some(HardPixels::TopK { share: 0.25, ramp: 0 });
            recipe
        }),
        ("OHEM", hard(HardPixels::Ohem { threshold: Some(0.4), min_kept: 5 })),
        ("OHEM by number", hard(HardPixels::Ohem { threshold: None, min_kept: 20 })),
        ("focal", only(|recipe| recipe.focal = Focal { weight: 1.0, gamma: 2.0, alpha: weights.clone() })),
        ("weak focal", only(|recipe| recipe.focal = Focal { weight: 2.0, gamma: 0.5, alpha: Vec::new() })),
        ("Dice", only(|recipe| recipe.dice = Dice { weight: 1.0, smooth: 1.0 })),
        ("Lovász", only(|recipe| recipe.lovasz.weight = 1.0)),
        ("all", {
            let mut recipe = cross_entropy(|term| term.label_smoothing = 0.1);
            recipe.focal.weight = 0.3;
            recipe.dice.weight = 0.7;
            recipe.lovasz.weight = 0.5;
            recipe
        }),
    ]
}

/// Compares the kernel's result with autograd's on the same logits in f64.
fn compare(name: &str, recipe: &Recipe, logits: &Tensor, labels: &Tensor, align_corners: bool) {
    let loss = loss(recipe, logits.dim(1).unwrap());
    // The logits of both are the same numbers.
    let narrow = logits.to_dtype(DType::F32).unwrap();
    let wide = narrow.to_dtype(DType::F64).unwrap();
    let ours = loss.compute(&narrow, labels, align_corners, 3).unwrap();
    let reference = loss.compute(&wide, labels, align_corners, 3).unwrap();
    assert!((ours.loss - reference.loss).abs() <= 2e-6 * (1.0 + reference.loss), "{name}: {ours:?} {reference:?}");
    assert_eq!((ours.pixels, ours.correct), (reference.pixels, reference.correct), "{name}");
    let (ours, reference) = (flat(&ours.gradient), flat(&reference.gradient));
    let greatest = reference.iter().fold(0.0_f64, |greatest, g| greatest.max(g.abs()));
    assert!(greatest > 0.0, "{name}");
    for (i, (ours, reference)) in ours.iter().zip(&reference).enumerate() {
        assert!((ours - reference).abs() <= 1e-5 * greatest, "{name}: element {i}: {ours} against {reference}");
    }
}

#[derive(serde::Deserialize)]
struct Golden {
    shape: Vec<usize>,
    logits: Vec<f64>,
    label_shape: (usize, usize, usize),
    labels: Vec<u8>,
    losses: Vec<GoldenLoss>,
}

#[derive(serde::Deserialize)]
struct GoldenLoss {
    name: String,
    align_corners: bool,
    loss: f64,
    gradient: Vec<f64>,
}

/// The recipe and step of a golden loss (`tests/golden/make_losses.py`).
fn golden_recipe(name: &str) -> (Recipe, usize) {
    let weights = vec![0.5, 1.5, 1.0, 2.0];
    let hard = |hard: HardPixels| {
        only(|recipe| {
            recipe.cross_entropy = CrossEntropy { hard_pixels: Some(hard), ..CrossEntropy::default() };
        })
    };
    let cross_entropy = |label_smoothing| {
        only(|recipe| {
            recipe.cross_entropy =
                CrossEntropy { class_weights: weights.clone(), label_smoothing, ..CrossEntropy::default() };
        })
    };
    let recipe = match name {
        "cross_entropy" => Recipe::default(),
        "weighted" => cross_entropy(0.0),
        "weighted_and_smoothed" => cross_entropy(0.1),
        "top_k" => hard(HardPixels::TopK { share: 0.3, ramp: 0 }),
        "top_k_on_its_ramp" => return (hard(HardPixels::TopK { share: 0.2, ramp: 40 }), 10),
        "ohem" => hard(HardPixels::Ohem { threshold: Some(0.2), min_kept: 4 }),
        "ohem_at_least" => hard(HardPixels::Ohem { threshold: Some(0.01), min_kept: 30 }),
        "ohem_by_number" => hard(HardPixels::Ohem { threshold: None, min_kept: 25 }),
        "focal" => only(|recipe| recipe.focal = Focal { weight: 1.0, gamma: 2.0, alpha: weights.clone() }),
        "dice" => only(|recipe| recipe.dice = Dice { weight: 1.0, smooth: 1.0 }),
        "lovasz" => only(|recipe| recipe.lovasz.weight = 1.0),
        other => panic!("{other}"),
    };
    (recipe, 0)
}

#[test]
fn losses_and_gradients_are_those_of_the_original_code_bases() {
    let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/losses.json")).unwrap();
    let logits = Tensor::from_vec(golden.logits, golden.shape, &Device::Cpu).unwrap();
    let labels = Tensor::from_vec(golden.labels, golden.label_shape, &Device::Cpu).unwrap();
    assert_eq!(golden.losses.len(), 22);
    for GoldenLoss { name, align_corners, loss: wanted, gradient } in golden.losses {
        let (recipe, step) = golden_recipe(&name);
        for dtype in [DType::F32, DType::F64] {
            let value =
                loss(&recipe, 4).compute(&logits.to_dtype(dtype).unwrap(), &labels, align_corners, step).unwrap();
            assert!((value.loss - wanted).abs() < 1e-6 * wanted, "{name}: {} against {wanted}", value.loss);
            for (ours, wanted) in flat(&value.gradient).into_iter().zip(&gradient) {
                assert!((ours - wanted).abs() < 2e-7, "{name}: {ours} against {wanted}");
            }
        }
    }
}

#[test]
fn the_kernel_is_the_reference() {
    for (name, recipe) in recipes(5) {
        for align_corners in [true, false] {
            let logits = logits([2, 5, 5, 7]);
            for size in [[2, 33, 41], [2, 5, 7], [2, 9, 4]] {
                compare(name, &recipe, &logits, &labels(size, 5), align_corners);
            }
        }
    }
}

#[test]
fn one_row_or_column_of_logits_is_enough() {
    for (name, recipe) in recipes(3) {
        for shape in [[1, 3, 1, 1], [1, 3, 1, 6], [1, 3, 6, 1]] {
            compare(name, &recipe, &logits(shape), &labels([1, 9, 8], 3), false);
            compare(name, &recipe, &logits(shape), &labels([1, 9, 8], 3), true);
        }
    }
}

#[test]
fn the_gradient_is_that_of_central_differences() {
    const STEP: f64 = 1e-5;
    for (name, recipe) in recipes(4) {
        let (logits, labels) = (logits([2, 4, 3, 4]), labels([2, 8, 9], 4));
        let loss = loss(&recipe, 4);
        let gradient = flat(&loss.compute(&logits, &labels, false, 3).unwrap().gradient);
        let values = flat(&logits);
        for (i, analytic) in gradient.iter().enumerate() {
            let at = |delta: f64| {
                let mut moved = values.clone();
                moved[i] += delta;
                let moved = Tensor::from_vec(moved, logits.dims(), &Device::Cpu).unwrap();
                loss.compute(&moved, &labels, false, 3).unwrap().loss
            };
            let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            // The derivatives of Lovász come from an order in f32.
            assert!((analytic - numeric).abs() < 1e-6, "{name}: element {i}: {analytic} against {numeric}");
        }
    }
}

#[test]
fn nothing_judged_is_no_loss_and_no_gradient() {
    let labels = Tensor::full(255u8, (2, 9, 8), &Device::Cpu).unwrap();
    for (name, recipe) in recipes(4) {
        for dtype in [DType::F32, DType::F64] {
            let logits = logits([2, 4, 3, 4]).to_dtype(dtype).unwrap();
            let value = loss(&recipe, 4).compute(&logits, &labels, false, 0).unwrap();
            assert_eq!((value.loss, value.pixels, value.correct), (0.0, 0, 0), "{name}");
            assert!(flat(&value.gradient).iter().all(|&g| g == 0.0), "{name}");
        }
    }
}

#[test]
fn a_single_class_has_no_loss() {
    let labels = Tensor::zeros((1, 4, 4), DType::U8, &Device::Cpu).unwrap();
    let value = loss(&Recipe::default(), 1)
        .compute(&logits([1, 1, 2, 2]).to_dtype(DType::F32).unwrap(), &labels, true, 0)
        .unwrap();
    assert_eq!((value.loss, value.pixels, value.correct), (0.0, 16, 16));
    assert!(flat(&value.gradient).iter().all(|&g| g == 0.0));
}

#[test]
fn as_many_classes_as_labels_can_tell() {
    for (name, recipe) in recipes(256) {
        // Lovász and Dice have a tiny part in each of so many classes.
        compare(name, &recipe, &logits([1, 256, 2, 3]), &labels([1, 8, 9], 255), false);
    }
}

#[test]
fn large_logits_do_not_overflow() {
    let logits = (logits([1, 3, 2, 2]) * 1e4).unwrap();
    compare("large", &Recipe::default(), &logits, &labels([1, 6, 6], 3), false);
}

#[test]
fn a_logit_that_is_no_number_is_seen_in_the_loss() {
    let logits = Tensor::new(&[[[[f32::NAN, 1.0]], [[0.0, 1.0]]]], &Device::Cpu).unwrap();
    let labels = Tensor::zeros((1, 1, 4), DType::U8, &Device::Cpu).unwrap();
    for (name, recipe) in recipes(2) {
        assert!(loss(&recipe, 2).compute(&logits, &labels, false, 0).unwrap().loss.is_nan(), "{name}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for (name, recipe) in recipes(5) {
        let compute = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let logits = logits([2, 5, 9, 7]).to_dtype(DType::F32).unwrap();
            pool.install(|| loss(&recipe, 5).compute(&logits, &labels([2, 40, 50], 5), true, 3).unwrap())
        };
        let one = compute(1);
        for threads in [2, 3, 7] {
            let value = compute(threads);
            assert_eq!(value.loss.to_bits(), one.loss.to_bits(), "{name}");
            assert_eq!(flat(&value.gradient), flat(&one.gradient), "{name}");
        }
    }
}

#[test]
fn a_label_that_is_no_class_is_an_error() {
    let mut ids = vec![0u8; 2 * 16];
    ids[20] = 4;
    let labels = Tensor::from_vec(ids, (2, 4, 4), &Device::Cpu).unwrap();
    let error = loss(&Recipe::default(), 4).compute(&logits([2, 4, 2, 2]), &labels, false, 0).unwrap_err();
    assert!(matches!(error, Error::Label { id: 4, classes: 4, image: 1 }), "{error}");
}

#[test]
fn shapes_that_do_not_fit_are_an_error() {
    let loss = loss(&Recipe::default(), 4);
    let labels = |shape: (usize, usize, usize), dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    for (shape, labels) in [
        ([2, 4, 2, 2], labels((1, 4, 4), DType::U8)),
        ([1, 3, 2, 2], labels((1, 4, 4), DType::U8)),
        ([1, 4, 2, 2], labels((1, 4, 4), DType::U32)),
        ([1, 4, 2, 2], labels((1, 0, 4), DType::U8)),
        ([1, 4, 0, 2], labels((1, 4, 4), DType::U8)),
    ] {
        let logits = Tensor::zeros(&shape, DType::F32, &Device::Cpu).unwrap();
        assert!(matches!(loss.compute(&logits, &labels, false, 0), Err(Error::Candle(_))), "{shape:?}");
    }
}

#[test]
fn recipes_outside_their_range_are_refused() {
    let setting = |text: &str| match Loss::new(&toml::from_str(text).unwrap(), 3).unwrap_err() {
        Error::Recipe { setting, .. } => setting,
        other => panic!("{other}"),
    };
    assert_eq!(setting("cross_entropy.weight = 0"), "loss");
    assert_eq!(setting("dice.weight = -1"), "loss.dice.weight");
    assert_eq!(setting("lovasz.weight = nan"), "loss.lovasz.weight");
    assert_eq!(setting("cross_entropy.class_weights = [1, 1]"), "loss.cross_entropy.class_weights");
    assert_eq!(setting("cross_entropy.label_smoothing = 1.5"), "loss.cross_entropy.label_smoothing");
    assert_eq!(
        setting("cross_entropy.hard_pixels = { kind = 'top_k', share = 2 }"),
        "loss.cross_entropy.hard_pixels.share"
    );
    assert!(toml::from_str::<Recipe>("cross_entropy.wieght = 1").is_err());
    assert!(toml::from_str::<Recipe>("cross_entropy.hard_pixels = { kind = 'ohem', tresh = 1 }").is_err());
    let recipe: Recipe =
        toml::from_str("cross_entropy.hard_pixels = { kind = 'ohem', threshold = 0.7 }\ndice.weight = 0.5").unwrap();
    assert_eq!(recipe.cross_entropy.hard_pixels, Some(HardPixels::Ohem { threshold: Some(0.7), min_kept: 100_000 }));
    assert_eq!(toml::from_str::<Recipe>(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
}
