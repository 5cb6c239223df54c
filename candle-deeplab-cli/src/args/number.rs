//! Numbers that several commands take.

use candle_deeplab::config::OUTPUT_STRIDES;

/// The longest side of what a network looks at.
const MAX_SIDE: usize = 1 << 14;

/// `513x1025`: height and width; `513`: both.
pub(super) fn size(text: &str) -> Result<(usize, usize), String> {
    let (height, width) = text.split_once(['x', 'X', '×']).unwrap_or((text, text));
    let sides = height.parse().ok().zip(width.parse().ok());
    let possible = sides.filter(|(h, w)| (1..=MAX_SIDE).contains(h) && (1..=MAX_SIDE).contains(w));
    possible.ok_or_else(|| {
        format!("it must be HEIGHTxWIDTH, e.g. 513x1025, or a square's side, e.g. 513, of at most {MAX_SIDE}")
    })
}

/// A number from 1 to `MOST`.
pub(super) fn count<const MOST: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|count| (1..=MOST).contains(count));
    number.ok_or_else(|| format!("it must be a number from 1 to {MOST}"))
}

/// More than any machine has cores; each takes memory of its own.
pub(super) const MOST_THREADS: usize = 4096;

/// 8, 16 or 32, as all networks have them; which of them one can have depends on its rates.
pub(super) fn output_stride(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|stride| OUTPUT_STRIDES.contains(stride));
    number.ok_or_else(|| "it must be 8, 16 or 32".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked() {
        assert_eq!((size("513x1025"), size("5×7"), count::<3>("3")), (Ok((513, 1025)), Ok((5, 7)), Ok(3)));
        assert_eq!((size("257"), size("3X5")), (Ok((257, 257)), Ok((3, 5))));
        assert_eq!(output_stride("8"), Ok(8));
        assert!(["4", "0", "x", "-8"].into_iter().all(|text| output_stride(text).is_err()));
        assert!(
            ["", "0", "0x5", "5x0", "5x", "x", "axb", "-1x3", "16385x5", "16385", "4294967297x600"]
                .into_iter()
                .all(|text| size(text).is_err())
        );
        assert!(["", "0", "-1", "x", "4", "9223372036854775807"].into_iter().all(|text| count::<3>(text).is_err()));
    }
}
