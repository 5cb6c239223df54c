//! Tests of the model card that `weights-convert convert` writes.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

#[path = "support/converter.rs"]
mod converter;
mod support;

use std::path::Path;

use converter::{Tensors, convert};
use support::shared::kept;
use yaml_rust2::{Yaml, YamlLoader};

/// A file's model card: its front matter, and the text below.
fn card(file: &Path, flags: &[&str]) -> (Yaml, String) {
    let dir = tempfile::tempdir().unwrap();
    convert(file, &dir.path().join("model"), flags);
    let text = std::fs::read_to_string(dir.path().join("model/README.md")).unwrap();
    let (front, body) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let mut documents = YamlLoader::load_from_str(front).unwrap();
    assert_eq!(documents.len(), 1, "{front}");
    (documents.remove(0), body.to_owned())
}

fn narrow() -> std::path::PathBuf {
    kept("xception65_narrow/model.ckpt")
}

fn strings(yaml: &Yaml) -> Vec<&str> {
    yaml.as_vec().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn the_hub_learns_what_the_network_is() {
    let (front, body) = card(&narrow(), &[]);
    assert_eq!(front["library_name"].as_str(), Some("candle"));
    assert_eq!(front["pipeline_tag"].as_str(), Some("image-segmentation"));
    let tags = ["semantic-segmentation", "deeplabv3plus", "xception65", "voc", "candle-deeplab"];
    assert_eq!(strings(&front["tags"]), tags);
    assert!(body.contains("# DeepLabv3+, xception65") && body.contains("75617 parameters"), "{body}");
    assert!(body.contains("candle-deeplab segment photo.jpg --model ."), "{body}");
    assert!(body.contains("| family | `tf_slim` |") && body.contains("| 15 | `person` |"), "{body}");
}

#[test]
fn what_nobody_said_is_left_out() {
    let (front, _) = card(&narrow(), &[]);
    for key in ["license", "datasets", "model-index"] {
        assert!(front[key].is_badvalue(), "{key}");
    }
}

#[test]
fn licence_and_data_sets_are_those_that_were_told() {
    let (front, _) = card(&narrow(), &["--license", "apache-2.0", "--dataset", "pascal: voc", "--dataset=- [sbd"]);
    assert_eq!(front["license"].as_str(), Some("apache-2.0"));
    assert_eq!(strings(&front["datasets"]), ["pascal: voc", "- [sbd"]);
}

#[test]
fn a_published_score_is_told_with_its_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let card = weights_convert::Card { license: None, datasets: vec!["voc".into()], miou: Some(82.2) };
    let options = weights_convert::Options { card, ..Default::default() };
    weights_convert::convert(&narrow(), dir.path(), &options, false).unwrap();
    let text = std::fs::read_to_string(dir.path().join("README.md")).unwrap();
    let front = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap().0;
    let front = YamlLoader::load_from_str(front).unwrap().remove(0);
    let result = &front["model-index"][0]["results"][0];
    assert_eq!(result["dataset"]["name"].as_str(), Some("voc"));
    assert_eq!(result["metrics"][0]["type"].as_str(), Some("mean_iou"));
    assert_eq!(result["metrics"][0]["value"].as_f64(), Some(82.2));
}

#[test]
fn whatever_names_hold_the_card_stays_one() {
    const ODD: &str = "a: \"b\"\\ # ---\u{e9}|`x` {}[]&*!%@";
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..21).map(|class| format!("{ODD}{class}")).collect();
    let labels = dir.path().join(format!("{}.txt", ODD.replace('/', "")));
    std::fs::write(&labels, names.join("\n")).unwrap();
    let file = dir.path().join("-- \n---\u{85}\u{7f}\u{2028}`.safetensors");
    Tensors::of_checkpoint(&narrow()).write(&file);
    let (front, body) = card(&file, &["--labels", labels.to_str().unwrap()]);
    assert!(strings(&front["tags"]).contains(&ODD), "{front:?}");
    // Each class has one row, and no character in a name breaks it.
    let rows: Vec<&str> = body.lines().skip_while(|line| !line.starts_with("## Labels")).skip(4).collect();
    assert_eq!(rows.len(), 21, "{body}");
    assert!(rows.iter().all(|row| row.starts_with("| ") && row.ends_with(" |")), "{body}");
    let decisions = body.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |"));
    assert!(decisions.clone().count() > 21 && !body.contains("\n---\n"), "{body}");
}
