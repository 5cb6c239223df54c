//! Names from a file, as a table shows them.

/// A name on one line and of at most `most` letters: control characters are escaped, since a terminal would obey them,
/// and of a longer name the middle is left out.
///
/// ```
/// use weights_convert::shown;
///
/// assert_eq!(shown("backbone/stem/weights", 9), "back…ghts");
/// assert_eq!(shown("a\tb", 9), "a\\tb");
/// ```
pub fn shown(name: &str, most: usize) -> String {
    let mut plain = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_control() { plain.extend(c.escape_debug()) } else { plain.push(c) }
    }
    let name = plain;
    let letters = name.chars().count();
    if letters <= most {
        return name;
    }
    let kept = most.saturating_sub(1);
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    name.chars().take(head).chain(['…']).chain(name.chars().skip(letters - tail)).collect()
}

/// Letters of a name that a message shows.
const IN_MESSAGE: usize = 100;

/// A name as an error or a report's sentence shows it.
pub(crate) fn in_message(name: &str) -> String {
    shown(name, IN_MESSAGE)
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_fits_is_shown_whole() {
        assert_eq!((shown("weights", 7), shown("", 7)), ("weights".into(), String::new()));
    }

    #[test]
    fn of_a_longer_name_the_ends_are_shown() {
        assert_eq!([5, 4, 1, 0].map(|most| shown("abcdefgh", most)), ["ab…gh", "ab…h", "…", "…"]);
        assert_eq!(shown("日本語の名前", 5), "日本…名前");
    }

    #[test]
    fn no_name_is_wider_than_its_column_and_none_drives_a_terminal() {
        let shown = shown(&"\x1b[2J\n".repeat(20_000), 40);
        assert!(shown.chars().count() == 40 && !shown.chars().any(char::is_control), "{shown}");
    }
}
