use std::fs;

use candle_deeplab::arch;

use super::*;

fn parse(text: &str, set: &[&str]) -> Result<Recipe> {
    let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
    Recipe::parse(text, Path::new("recipe.toml"), &set)
}

const SHORT: &str = "[data]\nkind = 'folder'\n[model]\nbackbone = 'mobilenet_v2'\n";

/// Every recipe of configs/ is one, and describes a network.
#[test]
fn the_recipes_that_come_along_are_valid() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    // A published crate comes without them.
    let Ok(entries) = fs::read_dir(&configs) else { return };
    let mut count = 0;
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "toml"))
    {
        let recipe = Recipe::from_file(&path, &[]).unwrap();
        if recipe.model.start.is_none() {
            let network = recipe.model.network(None, 19).unwrap();
            arch::graph(&network).unwrap();
        }
        count += 1;
    }
    assert!(count >= 8, "{count}");
}

#[test]
fn a_recipe_with_all_its_defaults_is_the_same() {
    let recipe = parse(SHORT, &[]).unwrap();
    let text = recipe.to_toml().unwrap();
    assert!(text.contains("base_rate = 0.007") && text.contains("momentum = 0.9"), "{text}");
    assert_eq!(parse(&text, &[]).unwrap(), recipe);
    assert!(recipe.differences(&parse(&text, &[]).unwrap()).unwrap().is_empty());
}

#[test]
fn assignments_change_it_and_are_differences() {
    let recipe = parse(SHORT, &[]).unwrap();
    let set = ["loader.batch=3", "model.decoder.before.low_level=block6", "loader.threads=7", "model.start=runs/a"];
    let changed = parse(SHORT, &set).unwrap();
    assert_eq!((changed.loader.batch, changed.model.start.as_deref()), (3, Some("runs/a")));
    let differences = recipe.differences(&changed).unwrap();
    // Threads do not change the result.
    assert_eq!(differences, ["loader.batch", "model.decoder.before.low_level", "model.start"]);
    let network = changed.model.network(None, 3).unwrap();
    assert_eq!(network.decoder.unwrap().before.unwrap().low_level, "block6");
}

#[test]
fn what_a_recipe_cannot_say_is_named() {
    let said = |text: &str, set: &[&str]| parse(text, set).unwrap_err().to_string();
    assert!(said(SHORT, &["train.batch_size=3"]).contains("unknown field `batch_size`"));
    assert!(said("[data]\nkind = 'folder'\n[model]\nbackbon = 'x'\n", &[]).contains("line 4"));
    assert!(said(SHORT, &["seed=-1"]).contains("recipe.toml"));
    assert!(said(SHORT, &["nonsense"]).contains("write `key=value`"));
    assert!(said("", &[]).contains("missing field `data`"));
}
