//! Numbers that several commands take.

/// The longest side of what a network looks at.
const MAX_SIDE: usize = 1 << 14;

/// `513x1025`: height and width.
pub(super) fn size(text: &str) -> Result<(usize, usize), String> {
    let sides = text.split_once(['x', '×']).and_then(|(h, w)| Some((h.parse().ok()?, w.parse().ok()?)));
    let possible = sides.filter(|(h, w)| (1..=MAX_SIDE).contains(h) && (1..=MAX_SIDE).contains(w));
    possible.ok_or_else(|| format!("it must be HEIGHTxWIDTH, e.g. 513x513, of at most {MAX_SIDE} a side"))
}

/// A number from 1 up.
pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "it must be a number from 1 up".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked() {
        assert_eq!((size("513x1025"), size("5×7"), count("3")), (Ok((513, 1025)), Ok((5, 7)), Ok(3)));
        assert!(
            ["", "513", "0x5", "5x0", "axb", "-1x3", "16385x5", "4294967297x600"]
                .into_iter()
                .all(|text| size(text).is_err())
        );
        assert!(["", "0", "-1", "x"].into_iter().all(|text| count(text).is_err()));
    }
}
