//! `--set key=value`: changes of a recipe's text.

use toml::{Table, Value};

use crate::error::{Error, Result};

/// Sets a value in a recipe, by its dotted path. The value is TOML; a text without quotes is a string.
pub(super) fn set(recipe: &mut Table, assignment: &str) -> Result<()> {
    let wrong = |reason: &str| Error::recipe(assignment, reason);
    let (path, value) = assignment.split_once('=').ok_or_else(|| wrong("write `key=value`, e.g. `train.batch=4`"))?;
    let (path, value) = (path.trim(), parsed(value.trim()));
    let mut table = recipe;
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        if part.is_empty() {
            return Err(wrong("the key has an empty part"));
        }
        if parts.peek().is_none() {
            table.insert(part.to_owned(), value);
            break;
        }
        let entry = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
        table = entry.as_table_mut().ok_or_else(|| wrong(&format!("`{part}` is a value, not a section")))?;
    }
    Ok(())
}

fn parsed(text: &str) -> Value {
    let document = format!("value = {text}").parse::<Table>();
    let value = document.ok().filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(assignments: &[&str]) -> String {
        let mut recipe: Table = "seed = 1\n[train]\nbatch = 8\n".parse().unwrap();
        assignments.iter().for_each(|assignment| set(&mut recipe, assignment).unwrap());
        recipe.to_string()
    }

    #[test]
    fn values_are_toml_and_words_are_strings() {
        let text = after(&["train.batch=4", "model.aspp.rates=[6, 12]", "model.start=runs/a b", "data.split=\"x\""]);
        let table: Table = text.parse().unwrap();
        assert_eq!(table["train"]["batch"].as_integer(), Some(4));
        assert_eq!(table["model"]["aspp"]["rates"].as_array().unwrap().len(), 2);
        assert_eq!(table["model"]["start"].as_str(), Some("runs/a b"));
        assert_eq!(table["data"]["split"].as_str(), Some("x"));
    }

    #[test]
    fn what_is_no_assignment_is_refused() {
        let mut recipe: Table = "seed = 1\n".parse().unwrap();
        for wrong in ["seed", "seed.x=1", "a..b=1", "=1"] {
            assert!(set(&mut recipe, wrong).is_err(), "{wrong}");
        }
    }

    /// A value cannot bring further keys along.
    #[test]
    fn a_value_is_one_value() {
        let mut recipe = Table::new();
        set(&mut recipe, "a=1\nb = 2").unwrap();
        assert_eq!(recipe["a"].as_str(), Some("1\nb = 2"));
    }
}
