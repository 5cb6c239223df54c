//! The settings in which two recipes differ.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// The dotted paths of all settings that are not the same in both.
pub(super) fn differences(a: &Table, b: &Table) -> Vec<String> {
    let (a, b) = (flat(a), flat(b));
    let mut paths: Vec<String> =
        a.keys().chain(b.keys()).filter(|path| a.get(*path) != b.get(*path)).cloned().collect();
    paths.sort();
    paths.dedup();
    paths
}

fn flat(table: &Table) -> BTreeMap<String, &Value> {
    let mut settings = BTreeMap::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                settings.extend(flat(inner).into_iter().map(|(path, value)| (format!("{key}.{path}"), value)));
            }
            value => {
                settings.insert(key.clone(), value);
            }
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_missing_ones_are_told_apart_by_path() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let (a, b) = (table("x = 1\n[s]\na = [1]\nb = 2\n"), table("x = 1\n[s]\na = [2]\n[t]\nc = 1\n"));
        assert_eq!(differences(&a, &b), ["s.a", "s.b", "t.c"]);
        assert!(differences(&a, &a).is_empty());
    }
}
