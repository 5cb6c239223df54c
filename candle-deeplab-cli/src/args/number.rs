//! Numbers that several commands take.

/// `513x1025`: height and width.
pub(super) fn size(text: &str) -> Result<(usize, usize), String> {
    let sides = text.split_once(['x', '×']).and_then(|(h, w)| Some((h.parse().ok()?, w.parse().ok()?)));
    sides.filter(|(h, w)| *h > 0 && *w > 0).ok_or_else(|| "it must be HEIGHTxWIDTH, e.g. 513x513".into())
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
        assert!(["", "513", "0x5", "5x0", "axb", "-1x3"].into_iter().all(|text| size(text).is_err()));
        assert!(["", "0", "-1", "x"].into_iter().all(|text| count(text).is_err()));
    }
}
