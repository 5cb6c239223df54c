//! "Did you mean …?": finds the known names that resemble an unknown one.

use strsim::damerau_levenshtein;

/// The most names that are suggested.
const MOST: usize = 3;
/// How many letters of a name are compared.
const MAX_LETTERS: usize = 100;
/// The shortest part of a name that is searched for within another.
const MIN_PART: usize = 3;

/// The distance between two names: first by spelling, then by the number of words that only the other one has.
type Distance = (usize, usize);

/// The names in `known` that resemble `name`, the closest first; at equal distance, in the order of `known`. A row of
/// `known` may have several names, and is suggested by its first.
pub fn closest<'a>(name: &str, known: impl Iterator<Item = Vec<&'a str>>) -> Vec<&'a str> {
    let nearest = |names: &Vec<&str>| names.iter().filter_map(|other| distance(name, other)).min();
    let mut near: Vec<(Distance, &str)> = known.filter_map(|names| Some((nearest(&names)?, *names.first()?))).collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter().take(MOST).map(|(_, name)| name).collect()
}

/// The question at the end of an error, with "; " before it; empty where nothing resembles the name.
pub fn question(near: &[&str]) -> String {
    match near {
        [] => String::new(),
        [one] => format!("; did you mean {one}?"),
        [others @ .., last] => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}

/// The distance from `name` to `other`; `None` where they do not resemble each other.
fn distance(name: &str, other: &str) -> Option<Distance> {
    let (words, others) = (words(name), words(other));
    if words.is_empty() {
        return None;
    }
    let spelled = |word: &String| others.iter().filter_map(|other| spelling(word, other)).min();
    let by_words = words.iter().map(spelled).sum::<Option<usize>>();
    // The names may differ only in their separators.
    let as_one = spelling(&words.concat(), &others.concat());
    let cost = by_words.into_iter().chain(as_one).min()?;
    Some((cost, others.len().saturating_sub(words.len())))
}

/// Splits a name into lower-case words; `deeplabv3+` becomes `deeplabv3plus`.
fn words(name: &str) -> Vec<String> {
    let name: String = name.chars().take(MAX_LETTERS).collect();
    let name = name.to_lowercase().replace('+', "plus");
    name.split(|c: char| !c.is_alphanumeric() && c != '.').filter(|word| !word.is_empty()).map(String::from).collect()
}

/// The distance between two words: 0 for the same word or its beginning, more for a part of it or a typing error.
fn spelling(word: &str, other: &str) -> Option<usize> {
    if other.starts_with(word) {
        return Some(0);
    }
    let letters = word.chars().count();
    let part = |part: &str, whole: &str| part.len() >= MIN_PART && whole.contains(part);
    if part(word, other) || part(other, word) {
        return Some(1);
    }
    let slips = match letters {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    // A typing error in the beginning of a longer word counts the same.
    let beginning: String = other.chars().take(letters).collect();
    let edits = damerau_levenshtein(word, other).min(damerau_levenshtein(word, &beginning));
    (edits <= slips).then_some(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near<'a>(name: &str, known: &[&'a str]) -> Vec<&'a str> {
        closest(name, known.iter().map(|&name| vec![name]))
    }

    #[test]
    fn slips_of_the_hand_are_forgiven() {
        let classes = ["person", "dog", "aeroplane", "tvmonitor", "pottedplant", "car"];
        for (typed, meant) in [
            ("persn", "person"),
            ("preson", "person"),
            ("Persons", "person"),
            ("dogs", "dog"),
            ("plane", "aeroplane"),
            ("tv", "tvmonitor"),
            ("potted plant", "pottedplant"),
            ("cars", "car"),
        ] {
            assert_eq!(near(typed, &classes).first(), Some(&meant), "{typed}");
        }
        for nothing in ["unicorn", "", "?", "tree", "x"] {
            assert_eq!(near(nothing, &classes), [""; 0], "{nothing}");
        }
    }

    #[test]
    fn the_name_with_the_fewest_other_words_comes_first() {
        let known = ["deeplabv3-net-voc-trainval", "deeplabv3-net-voc", "deeplabv3-other-voc"];
        assert_eq!(near("net", &known), ["deeplabv3-net-voc", "deeplabv3-net-voc-trainval"]);
        assert_eq!(near("net_voc", &known)[0], "deeplabv3-net-voc");
        assert_eq!(near("netvoc", &known)[0], "deeplabv3-net-voc");
        assert_eq!(near("deeplab", &known).len(), 3);
    }

    #[test]
    fn a_row_is_suggested_by_its_first_name_once() {
        let rows = [vec!["the-id", "net-voc", "net_voc_old"], vec!["other-id", "thing"]];
        assert_eq!(closest("net", rows.iter().cloned()), ["the-id"]);
    }

    #[test]
    fn the_question_is_a_sentence() {
        assert_eq!(question(&[]), "");
        assert_eq!(question(&["a"]), "; did you mean a?");
        assert_eq!(question(&["a", "b", "c"]), "; did you mean a, b or c?");
    }

    #[test]
    fn a_name_of_any_length_is_looked_at_in_no_time() {
        assert_eq!(near(&"x".repeat(1 << 20), &["person"]), [""; 0]);
    }
}
