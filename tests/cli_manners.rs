//! Tests of what a user expects of a well-behaved program, one expectation each.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "../weights-convert/tests/read_support/flat.rs"]
#[allow(dead_code)] // it is for the tests of the reader
mod flat;
#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;

use image::{Rgb, RgbImage};
use program::{json, model, refused, run, success};
use serde_json::Value;
use support::shared::kept;
use tempfile::TempDir;

/// A folder with a picture.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let picture = RgbImage::from_fn(60, 40, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, (x * y / 9) as u8]));
    picture.save(dir.path().join("photo.png")).unwrap();
    dir
}

fn there(dir: &TempDir, name: &str) -> bool {
    dir.path().join(name).exists()
}

/// The arguments that segment the picture with the tests' model.
fn segment<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["segment", "photo.png", "-m", model()], args].concat()
}

/// The names of a class that is in the picture and of one that is not.
fn classes(dir: &TempDir) -> (String, String) {
    let found = json(dir.path(), &segment(&["--format", "json", "-o", "look/", "--json"]));
    let found: Vec<&str> =
        found["found"].as_array().unwrap().iter().map(|class| class["name"].as_str().unwrap()).collect();
    let names = candle_deeplab::Labels::voc().names;
    let absent = names.iter().find(|name| !found.contains(&name.as_str())).expect("a picture without some class");
    (found[0].to_owned(), absent.clone())
}

fn line(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

// ---- classes ----

#[test]
fn a_class_that_was_asked_for_and_is_not_in_the_picture_is_said() {
    let dir = place();
    let (present, absent) = classes(&dir);
    let both = format!("{present},{absent}");
    let said = success(dir.path(), &segment(&["--classes", &both]));
    assert!(said.lines().any(|line| line.trim_start().starts_with(&absent) && line.ends_with("not in it")), "{said}");
    assert_eq!(said.matches("not in it").count(), 1, "{said}");
    let said = json(dir.path(), &segment(&["--classes", &both, "--json", "--force"]));
    assert_eq!(said["absent"], serde_json::json!([absent]));
    assert_eq!(said.get("error"), None);
    // Without requested classes none is absent.
    assert_eq!(json(dir.path(), &segment(&["--json", "--force"]))["absent"], serde_json::json!([]));
}

#[test]
fn a_cutout_of_what_is_not_in_the_picture_is_no_file_and_exit_code_1() {
    let dir = place();
    let (_, absent) = classes(&dir);
    let output = run(dir.path(), &segment(&["--cutout", &absent, "--json"]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (answer, said) = (line(&output.stdout), String::from_utf8(output.stderr).unwrap());
    assert!(said.starts_with("error: photo.png: ") && said.contains(&absent) && said.contains("no cutout"), "{said}");
    assert_eq!((&answer["outputs"], &answer["absent"]), (&serde_json::json!([]), &serde_json::json!([absent])));
    assert!(answer["error"].as_str().unwrap().contains("no cutout") && answer["found"].is_array());
    assert!(!there(&dir, "photo.cutout.png"));
    let quiet = run(dir.path(), &segment(&["--cutout", &absent, "--quiet"]));
    assert!(quiet.status.code() == Some(1) && quiet.stdout.is_empty() && !quiet.stderr.is_empty(), "{quiet:?}");
}

#[test]
fn the_other_outputs_of_a_picture_are_written_without_its_cutout() {
    let dir = place();
    let (_, absent) = classes(&dir);
    let output = run(dir.path(), &segment(&["--cutout", &absent, "--format", "mask"]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("wrote photo.mask.png ("));
    assert!(there(&dir, "photo.mask.png") && !there(&dir, "photo.cutout.png"));
}

#[test]
fn a_cutout_of_several_classes_needs_one_of_them() {
    let dir = place();
    let (present, absent) = classes(&dir);
    let said = json(dir.path(), &segment(&["--cutout", &format!("{absent},{present}"), "--json"]));
    assert_eq!((&said["absent"], said.get("error")), (&serde_json::json!([absent]), None));
    assert!(there(&dir, "photo.cutout.png"));
}

#[test]
fn of_many_pictures_those_without_a_cutout_are_counted() {
    let dir = place();
    std::fs::copy(dir.path().join("photo.png"), dir.path().join("again.png")).unwrap();
    let (_, absent) = classes(&dir);
    let args = ["segment", "photo.png", "again.png", "-m", model(), "--cutout", &absent];
    let output = run(dir.path(), &args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("2 failed") && said.matches("no cutout").count() == 2, "{said}");
    assert!(String::from_utf8(output.stdout).unwrap().contains(&format!(", no {absent}; wrote nothing")));
}

#[test]
fn an_id_of_a_class_is_as_good_as_its_name() {
    let dir = place();
    let labels = candle_deeplab::Labels::voc();
    let (present, _) = classes(&dir);
    let id = labels.find(&present).unwrap()[0].to_string();
    for flag in ["--classes", "--cutout"] {
        let written = |class: &str, name: &str| {
            let formats = if flag == "--classes" { &["--format", "mask"][..] } else { &[] };
            success(dir.path(), &segment(&[&[flag, class, "-o", name], formats].concat()));
            std::fs::read(dir.path().join(name)).unwrap()
        };
        assert!(written(&present, &format!("name{flag}.png")) == written(&id, &format!("id{flag}.png")), "{flag}");
        let said = refused(dir.path(), &segment(&[flag, "21"]));
        assert!(said.contains("no class `21`") && said.contains("0 to 20"), "{said}");
    }
}

#[test]
fn a_misspelt_class_is_asked_about() {
    let dir = place();
    for (typed, meant) in [("persn", "person"), ("dogs", "dog"), ("plane", "aeroplane"), ("cat,hrose", "horse")] {
        for flag in ["--classes", "--cutout"] {
            let said = refused(dir.path(), &segment(&[flag, typed]));
            assert!(said.contains(&format!("did you mean {meant}")), "{said}");
        }
    }
}

// ---- models ----

#[test]
fn a_name_that_is_no_model_is_answered_with_those_that_are_like_it() {
    let dir = place();
    for (typed, meant) in [
        ("xception", "deeplabv3plus-xception65-voc"),
        ("mobilenet", "deeplabv3-mobilenetv2-voc"),
        ("deeplab", "deeplabv3plus-xception65-voc"),
        ("deeplabv3+", "deeplabv3plus-xception65-voc"),
        ("resnet101-voc", "deeplabv3-resnet101-voc"),
        ("xception65-city", "deeplabv3plus-xception65-cityscapes"),
    ] {
        for command in [&["segment", "photo.png", "-m", typed][..], &["info", typed], &["pull", typed]] {
            let said = refused(dir.path(), command);
            assert!(said.contains("did you mean") && said.contains(meant), "{command:?}: {said}");
        }
    }
}

#[test]
fn the_model_has_a_short_option_wherever_it_is_an_option() {
    let dir = place();
    success(dir.path(), &["segment", "photo.png", "-m", model()]);
    success(dir.path(), &["bench", "-m", model(), "--size", "33", "--runs", "1"]);
    success(dir.path(), &["export", "onnx", "-m", model(), "--size", "33", "-o", "model.onnx"]);
}

#[test]
fn a_filter_matches_the_beginning_of_a_name() {
    let dir = place();
    let listed = |args: &[&str]| {
        let rows = json(dir.path(), &[&["models", "--json"], args].concat())["models"].clone();
        rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&["--backbone", "mobilenet"]), listed(&["--backbone", "MobileNet_V2"]));
    assert!(listed(&["--backbone", "mobilenet"]).contains(&"deeplabv3-mobilenetv2-0.5-voc".into()));
    assert_eq!(listed(&["--dataset", "city"]), listed(&["--dataset", "cityscapes"]));
    assert_eq!(listed(&["--dataset", "city", "--backbone", "xcep"]), ["deeplabv3plus-xception65-cityscapes"]);
}

#[test]
fn a_filter_that_nothing_passes_says_what_there_is() {
    let dir = place();
    let said = refused(dir.path(), &["models", "--dataset", "coco"]);
    assert!(said.contains("choose one of ade20k, cityscapes, imagenet, voc"), "{said}");
    let said = refused(dir.path(), &["models", "--backbone", "vgg"]);
    assert!(said.contains("mobilenetv2") && said.contains("xception65"), "{said}");
    let said = refused(dir.path(), &["models", "--backbone", "resnet50", "--dataset", "city"]);
    assert!(said.contains("no model has both") && said.contains("resnet101") && said.contains("voc"), "{said}");
}

#[test]
fn the_other_names_of_a_model_are_shown() {
    let dir = place();
    let listed = success(dir.path(), &["models"]);
    let row = listed.lines().find(|line| line.starts_with("deeplabv3plus-xception65-voc ")).unwrap();
    assert!(row.ends_with("xception65-voc, xception65_coco_voc_trainaug"), "{row}");
    let info = success(dir.path(), &["info", "xception65-voc"]);
    assert!(info.starts_with("xception65-voc (deeplabv3plus-xception65-voc)\n"), "{info}");
    assert!(info.contains("also called    xception65-voc, xception65_coco_voc_trainaug\n"), "{info}");
}

#[test]
fn a_model_for_the_edge_tpu_is_refused_by_that_name() {
    let dir = place();
    let model = flat::Model { custom: Some("edgetpu-custom-op"), ..Default::default() };
    std::fs::write(dir.path().join("deeplab_edgetpu.tflite"), model.bytes()).unwrap();
    let said = refused(dir.path(), &["segment", "photo.png", "-m", "deeplab_edgetpu.tflite"]);
    assert!(said.contains("deeplab_edgetpu.tflite") && said.contains("compiled for the Edge TPU"), "{said}");
    assert!(said.contains("without `_edgetpu`"), "{said}");
}

// ---- the cache ----

/// A folder with a file in another program's format that was used as a model, and the cache's folder with the converted
/// model.
fn with_converted() -> (TempDir, String) {
    let dir = place();
    std::fs::copy(kept("xception65_narrow/frozen_inference_graph.pb"), dir.path().join("deeplab.pb")).unwrap();
    let pulled = json(dir.path(), &["pull", "deeplab.pb", "--json"]);
    let path = pulled["dir"].as_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn a_model_goes_from_the_cache_by_whatever_the_user_calls_it() {
    let (dir, path) = with_converted();
    let name = json(dir.path(), &["cache", "list", "--json"])["models"][0]["name"].as_str().unwrap().to_owned();
    let absolute = dir.path().join("deeplab.pb").display().to_string();
    let (slash, from_elsewhere) = (format!("{path}/"), dir.path().join("sub"));
    std::fs::create_dir(&from_elsewhere).unwrap();
    for typed in [path.as_str(), &slash, &name, "deeplab.pb", "./deeplab.pb", &absolute, "sub/../deeplab.pb"] {
        success(dir.path(), &["pull", "deeplab.pb"]);
        assert!(Path::new(&path).exists(), "{typed}");
        let removed = json(dir.path(), &["cache", "remove", typed, "--json"]);
        assert_eq!(
            (removed["removed"].as_array().unwrap().len(), &removed["removed"][0]["path"]),
            (1, &path.clone().into())
        );
        assert!(!Path::new(&path).exists(), "{typed}");
        assert!(there(&dir, "deeplab.pb"), "the file itself went");
    }
}

#[test]
fn a_file_that_has_gone_or_changed_since_still_names_its_model_in_the_cache() {
    let (dir, path) = with_converted();
    std::fs::write(dir.path().join("deeplab.pb"), "something else").unwrap();
    success(dir.path(), &["cache", "remove", "deeplab.pb"]);
    assert!(!Path::new(&path).exists());
    let (dir, path) = with_converted();
    std::fs::remove_file(dir.path().join("deeplab.pb")).unwrap();
    success(dir.path(), &["cache", "remove", "deeplab.pb"]);
    assert!(!Path::new(&path).exists());
}

#[test]
fn what_is_not_in_the_cache_is_never_removed() {
    let (dir, path) = with_converted();
    std::fs::create_dir(dir.path().join("mine")).unwrap();
    std::fs::write(dir.path().join("other.pb"), "other").unwrap();
    for typed in ["mine", "other.pb", ".", "nowhere", "photo.png", "..", ""] {
        let said = refused(dir.path(), &["cache", "remove", typed, "--quiet"]);
        assert!(said.contains("no such model in the cache") && said.contains("cache list"), "{typed}: {said}");
    }
    assert!(there(&dir, "mine") && there(&dir, "other.pb") && Path::new(&path).exists());
}

#[test]
fn the_same_file_by_another_path_is_the_same_model() {
    let (dir, path) = with_converted();
    let absolute = dir.path().join("deeplab.pb").display().to_string();
    for typed in ["./deeplab.pb", &absolute] {
        assert_eq!(json(dir.path(), &["pull", typed, "--json"])["dir"], *path);
    }
    assert_eq!(json(dir.path(), &["cache", "list", "--json"])["models"].as_array().unwrap().len(), 1);
}

#[test]
fn the_models_that_are_cached_are_those_that_the_cache_lists() {
    let (dir, _) = with_converted();
    for flags in [&[][..], &["--json"]] {
        let [models, cache] =
            [&["models", "--cached"][..], &["cache", "list"]].map(|args| success(dir.path(), &[args, flags].concat()));
        assert_eq!(models, cache);
        assert!(models.contains("deeplab.pb"), "{models}");
    }
    let listed = |args: &[&str]| {
        let listed = json(dir.path(), &[&["models", "--cached", "--json"], args].concat());
        listed["models"].as_array().unwrap().len()
    };
    // For a model outside of the registry the recipe decides.
    assert_eq!((listed(&["--dataset", "voc"]), listed(&["--dataset", "city"])), (1, 0));
    assert_eq!((listed(&["--backbone", "xception"]), listed(&["--backbone", "resnet"])), (1, 0));
    let said = success(dir.path(), &["models", "--cached", "--dataset", "city"]);
    assert!(said.contains("none of the 1 models here"), "{said}");
}

// ---- numbers and devices ----

#[test]
fn one_number_is_a_square() {
    let dir = place();
    let mask = |tile: &str, name: &str| {
        success(dir.path(), &segment(&["--tile", tile, "--overlap", "8", "--format", "ids", "-o", name]));
        std::fs::read(dir.path().join(name)).unwrap()
    };
    assert!(mask("33", "a.png") == mask("33x33", "b.png"));
    assert_eq!(json(dir.path(), &["bench", "-m", model(), "--size", "33", "--runs", "1", "--json"])["size"][1], 33);
    for wrong in ["0", "x", "33x", "99999"] {
        assert!(refused(dir.path(), &segment(&["--tile", wrong])).contains("a square's side"), "{wrong}");
    }
    // Smaller than the overlap of neighbouring tiles.
    assert!(refused(dir.path(), &["segment", "photo.png", "-m", "no-such-model", "--tile", "5"]).contains("overlap"));
}

/// Without CUDA and Metal only the CPU is left.
#[cfg(not(any(feature = "cuda", feature = "metal")))]
#[test]
fn the_device_is_chosen_and_named() {
    let dir = place();
    for flags in [&[][..], &["--device", "auto"], &["--device", "cpu"]] {
        let said = json(dir.path(), &segment(&[&["--json", "--force"], flags].concat()));
        assert_eq!(said["device"], "cpu", "{flags:?}");
    }
    let output = run(dir.path(), &segment(&["--force"]));
    assert!(output.stderr.is_empty() && String::from_utf8(output.stdout).unwrap().contains("s on cpu, "));
    let doctor = success(dir.path(), &["doctor"]);
    assert!(doctor.lines().any(|line| line.starts_with("auto          cpu")), "{doctor}");
    assert_eq!(json(dir.path(), &["doctor", "--json"])["auto"], "cpu");
    let said = refused(dir.path(), &segment(&["--device", "gpu"]));
    assert!(said.contains("`auto`"), "{said}");
}
