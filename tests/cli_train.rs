//! Tests of `candle-deeplab train` from the command line, on a data set of tiny generated images.

#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

#[path = "support/program.rs"]
mod program;
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use image::{GrayImage, Luma, Rgb, RgbImage};
use program::{json, refused, run, success};
use serde_json::Value;
use tempfile::TempDir;

/// The side of the images.
const SIDE: u32 = 32;

/// A recipe of six steps for a very narrow network.
const RECIPE: &str = r#"
seed = 3

[data]
kind = "folder"

[model]
backbone = "mobilenet_v2"
depth_multiplier = 0.1

[model.aspp]
width = 8
rates = [2]

[model.decoder]
low_level_width = 4
widths = [8]

[augment]
crop = [33, 41]

[augment.photometric]

[loader]
batch = 2

[optimizer]
accumulate = 2

[schedule]
steps = 6
base_rate = 0.05

[ema]
decay = 0.9

[validate]
every = 2

[checkpoints]
every = 1
"#;

/// A folder with a recipe, and a data set of stripes whose colours say their classes.
fn workplace() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("recipe.toml"), RECIPE).unwrap();
    fs::create_dir_all(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/labels.txt"), "red\ngreen\nblue\n").unwrap();
    for (split, count) in [("train", 7), ("val", 3)] {
        let [images, labels] = ["images", "labels"].map(|kind| dir.path().join("data").join(kind).join(split));
        fs::create_dir_all(&images).unwrap();
        fs::create_dir_all(&labels).unwrap();
        for index in 0..count {
            let class = |x: u32, y: u32| ((x + index * y / 3 + index) / 8) % 3;
            let color = |x, y| {
                let mut color = [40; 3];
                color[class(x, y) as usize] = 220;
                Rgb(color)
            };
            RgbImage::from_fn(SIDE, SIDE, color).save(images.join(format!("{index}.png"))).unwrap();
            let labels = labels.join(format!("{index}.png"));
            GrayImage::from_fn(SIDE, SIDE, |x, y| Luma([class(x, y) as u8])).save(labels).unwrap();
        }
    }
    dir
}

const TRAIN: [&str; 6] = ["train", "--config", "recipe.toml", "--data", "data", "--threads=2"];

fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&TRAIN, more].concat()
}

/// What a run computed: the weights, and the loss of each step.
fn result(run: &Path) -> (Vec<u8>, Vec<(u64, f64)>) {
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let loss = lines.filter_map(|line| Some((line["step"].as_u64()?, line["loss"].as_f64()?))).collect();
    (fs::read(run.join("model.safetensors")).unwrap(), loss)
}

/// The lines of a run's log, without what depends on the machine.
fn log(run: &Path) -> Vec<Value> {
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("images_per_second");
        line
    };
    log.lines().map(line).collect()
}

#[test]
fn a_run_leaves_a_model_that_segments_with_its_logs() {
    let dir = workplace();
    let told = json(dir.path(), &train(&["--out", "run", "--json"]));
    assert_eq!((told["end"].as_str(), told["step"].as_u64()), (Some("done"), Some(6)));
    let miou = told["best_miou"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&miou), "{told}");
    let run = dir.path().join("run");
    let (_, losses) = result(&run);
    assert_eq!(losses.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(losses.iter().all(|(_, loss)| (0.1..5.0).contains(loss)), "{losses:?}");
    let names: Vec<String> =
        fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    for wanted in ["config.json", "model.safetensors", "recipe.toml", "curves.svg", "checkpoints"] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} in {names:?}");
    }
    assert!(names.iter().any(|name| name.contains("tfevents")), "{names:?}");
    let recipe = fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert!(recipe.contains("seed = 3") && recipe.contains("momentum = 0.9"), "{recipe}");
    success(dir.path(), &["segment", "--model", "run", "data/images/val/0.png", "-o", "out.png"]);
    let judged = json(dir.path(), &["eval", "--model", "run", "--data", "data", "--split", "val", "--json"]);
    let difference = judged["miou"].as_f64().unwrap() - miou;
    // The best model of the run is the one that was written.
    assert!(difference.abs() < 1e-9, "{judged} after {told}");
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_bit_for_bit() {
    let dir = workplace();
    success(dir.path(), &train(&["--out", "whole"]));
    success(dir.path(), &train(&["--out", "parts", "--steps", "1"]));
    success(dir.path(), &train(&["--out", "parts", "--steps", "4", "--resume"]));
    // The run's own recipe will do.
    success(dir.path(), &["train", "--out", "parts", "--resume", "--threads=2"]);
    let [whole, parts] = ["whole", "parts"].map(|run| dir.path().join(run));
    // Validations, too: none was added where the run was stopped.
    assert_eq!(log(&whole), log(&parts));
    assert_eq!(result(&whole).1, result(&parts).1);
    assert!(result(&whole).0 == result(&parts).0, "the weights differ");
}

#[test]
fn until_the_first_validation_the_model_is_the_last_one() {
    let dir = workplace();
    let model = |steps: &str| {
        success(dir.path(), &train(&["--out", "run", "--steps", steps, "--resume", "--set", "validate.every=100"]));
        result(&dir.path().join("run")).0
    };
    assert!(model("1") != model("3"));
}

/// Nothing is learnt here, so that the second validation is no better than the first.
#[test]
fn a_run_that_no_longer_gets_better_ends() {
    let dir = workplace();
    let still = ["--set", "schedule.base_rate=1e-30", "--set", "train.batch_norm=frozen"];
    let patience = ["--set", "validate.every=1", "--set", "validate.patience=1"];
    let told = json(dir.path(), &train(&[&["--out", "run", "--json"], &still[..], &patience[..]].concat()));
    assert_eq!((told["end"].as_str(), told["step"].as_u64()), (Some("no_longer_better"), Some(2)), "{told}");
    assert_eq!(told["best_step"].as_u64(), Some(1));
}

/// Ten kills at different times; each loses at most the steps since the last checkpoint.
#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let dir = workplace();
    success(dir.path(), &train(&["--out", "whole"]));
    let mut before = 0;
    for kill in 0..10u64 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_candle-deeplab"))
            .current_dir(dir.path())
            .args(train(&["--out", "killed", "--resume", "--quiet"]))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + 97 * kill % 400));
        child.kill().unwrap();
        child.wait().unwrap();
        let checkpoints = dir.path().join("killed/checkpoints");
        let entries = fs::read_dir(&checkpoints).into_iter().flatten().map(|e| e.unwrap().file_name());
        let step = |name: std::ffi::OsString| name.to_str()?.strip_prefix("step-")?.split('.').next()?.parse().ok();
        let last: u64 = entries.filter_map(step).max().unwrap_or(0);
        assert!(last >= before, "checkpoint {before} was lost: {last}");
        before = last;
    }
    success(dir.path(), &train(&["--out", "killed", "--resume"]));
    let (whole, killed) = (result(&dir.path().join("whole")), result(&dir.path().join("killed")));
    assert_eq!(whole.1, killed.1);
    assert!(whole.0 == killed.0, "the weights differ");
}

#[cfg(unix)]
#[test]
fn sigterm_saves_the_run_and_ends_it() {
    let dir = workplace();
    // As `nohup` starts it.
    let child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_candle-deeplab")])
        .current_dir(dir.path())
        .args(train(&["--out", "run", "--json", "--set", "schedule.steps=100000", "--set", "checkpoints.every=100000"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let log = dir.path().join("run/log.jsonl");
    while fs::read_to_string(&log).map_or(0, |log| log.lines().count()) < 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    let signal = |name: &str| Command::new("kill").args([name, &id]).status().unwrap().success();
    assert!(signal("-HUP"));
    let lines = fs::read_to_string(&log).unwrap().lines().count();
    while fs::read_to_string(&log).unwrap().lines().count() < lines + 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(signal("-TERM"));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["end"], "stopped");
    let step = told["step"].as_u64().unwrap();
    assert!(dir.path().join(format!("run/checkpoints/step-{step:07}.safetensors")).is_file());
    success(dir.path(), &["segment", "--model", "run", "data/images/val/0.png", "-o", "out.png"]);
}

#[test]
fn a_folder_with_a_run_is_not_used_for_another() {
    let dir = workplace();
    success(dir.path(), &train(&["--out", "run", "--steps", "1"]));
    let (before, _) = result(&dir.path().join("run"));
    let said = refused(dir.path(), &train(&["--out", "run"]));
    assert!(said.contains("there is a run in this folder: resume it"), "{said}");
    let said = refused(dir.path(), &train(&["--out", "run", "--resume", "--set", "schedule.base_rate=0.1"]));
    assert!(said.contains("another recipe (schedule.base_rate)"), "{said}");
    assert!(before == result(&dir.path().join("run")).0);
}

#[test]
fn a_model_that_is_no_runs_is_not_replaced() {
    let dir = workplace();
    success(dir.path(), &train(&["--out", "run", "--steps", "1"]));
    let mine = dir.path().join("mine");
    fs::create_dir(&mine).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(dir.path().join("run").join(file), mine.join(file)).unwrap();
    }
    let before = fs::read(mine.join("model.safetensors")).unwrap();
    for more in [&["--out", "mine"][..], &["--out", "mine", "--resume"]] {
        let said = refused(dir.path(), &train(more));
        assert!(said.contains("there is a model in this folder"), "{said}");
    }
    assert!(before == fs::read(mine.join("model.safetensors")).unwrap());
}

#[test]
fn a_run_without_a_whole_checkpoint_is_not_begun_anew() {
    let dir = workplace();
    success(dir.path(), &train(&["--out", "run", "--steps", "2"]));
    let (before, _) = result(&dir.path().join("run"));
    for checkpoint in fs::read_dir(dir.path().join("run/checkpoints")).unwrap() {
        fs::write(checkpoint.unwrap().path(), "half").unwrap();
    }
    let said = refused(dir.path(), &train(&["--out", "run", "--resume"]));
    assert!(said.contains("none of its checkpoints is whole") && said.contains("step-0000002"), "{said}");
    assert!(before == result(&dir.path().join("run")).0);
}

#[test]
fn what_a_recipe_cannot_say_is_named() {
    let dir = workplace();
    for (set, wanted) in [
        ("train.batch_size=4", "batch_size"),
        ("loader.batch=0", "loader.batch"),
        ("model.backbone=resnet51", "there is no `resnet51`"),
        ("train.dropout=1.5", "train.dropout: 1.5 must be at least 0 and less than 1"),
        ("validate.images=0", "validate.images: must be at least 1"),
        ("validate.every=0", "validate.every: must be at least 1"),
        ("train.split=training", "training"),
        ("model.output_stride=12", "output stride"),
        ("train.freeze=[\"backbone\", \"aspp\", \"decoder\", \"classifier\"]", "leaves nothing to train"),
    ] {
        let said = refused(dir.path(), &train(&["--out", "run", "--set", set]));
        assert!(said.contains(wanted), "{set}: {said}");
    }
    fs::write(dir.path().join("recipe.toml"), "seed = 1\n[data]\nkind = \"folders\"\n[model]\n").unwrap();
    let said = refused(dir.path(), &train(&["--out", "run"]));
    assert!(said.contains("recipe.toml") && said.contains("line 3"), "{said}");
    assert!(!dir.path().join("run/model.safetensors").exists());
}

/// A rate that no network survives: the run ends with the step and what to try, and what was saved stays.
#[test]
fn a_loss_that_is_not_finite_ends_the_run_and_leaves_what_was_saved() {
    let dir = workplace();
    let said = refused(dir.path(), &train(&["--out", "run", "--quiet", "--set", "schedule.base_rate=1e30"]));
    assert!(said.contains("lower the learning rate") && said.contains("step "), "{said}");
    let checkpoints = fs::read_dir(dir.path().join("run/checkpoints")).unwrap().count();
    assert!(checkpoints > 0);
    assert!(dir.path().join("run/model.safetensors").is_file());
}

#[test]
fn a_damaged_image_is_skipped_and_told_or_ends_the_run() {
    let dir = workplace();
    let path = dir.path().join("data/images/train/4.png");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let output = run(dir.path(), &train(&["--out", "run", "--json"]));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    // 24 samples are three epochs and a half.
    assert!(told["skipped"].as_u64().is_some_and(|skipped| (3..=4).contains(&skipped)), "{told}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("skipped: ") && said.contains("4.png"), "{said}");
    let said = refused(dir.path(), &train(&["--out", "strict", "--quiet", "--set", "loader.on_error=fail"]));
    assert!(said.contains("4.png"), "{said}");
}

/// The file-size limit stands for a full disk: writing fails in the middle of a checkpoint.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_run_and_leaves_the_last_checkpoint() {
    let dir = workplace();
    success(dir.path(), &train(&["--out", "run", "--steps", "2"]));
    let before = result(&dir.path().join("run")).0;
    let program = env!("CARGO_BIN_EXE_candle-deeplab");
    let command = format!("trap '' XFSZ; ulimit -f 64; exec {program} train --out run --resume --quiet --threads=2");
    let output = Command::new("sh").current_dir(dir.path()).args(["-c", &command]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("run/checkpoints/step-0000003.safetensors"), "{said}");
    assert!(before == result(&dir.path().join("run")).0);
    success(dir.path(), &train(&["--out", "run", "--resume"]));
}

/// Other classes, another head, and a frozen backbone, from the bundled model.
#[test]
fn training_starts_from_the_bundled_model() {
    let dir = workplace();
    let recipe = RECIPE.replace("backbone = \"mobilenet_v2\"\ndepth_multiplier = 0.1\n", "start = \"bundled\"\n");
    fs::write(dir.path().join("recipe.toml"), recipe.replace("[model.aspp]", "head = \"deeplabv3plus\"\n[model.aspp]"))
        .unwrap();
    // `--resume` of a run that has no checkpoint yet begins it, from the same start.
    let set = "train.freeze=[\"backbone\"]";
    let output = run(dir.path(), &train(&["--out", "run", "--steps", "1", "--resume", "--set", set]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("folded batch norms were recovered"), "{said}");
    assert!(said.contains("new: aspp.branch0") && said.contains("decoder.low_level"), "{said}");
}
