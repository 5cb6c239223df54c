//! Partitioned variables: one tensor in a checkpoint that is stored as several boxes of it.

use std::fmt;

use super::tensor::elements;
use super::tf_proto::SliceProto;

/// Far more partitions than a variable was ever split into; keeps the check of all pairs short.
pub(crate) const MAX_SLICES: usize = 1024;

/// A box within a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) start: Vec<usize>,
    pub(crate) length: Vec<usize>,
}

impl Slice {
    /// The box that `proto` describes in a tensor of the given shape, or why there is none.
    pub(crate) fn new(proto: &SliceProto, shape: &[usize]) -> Result<Self, String> {
        if proto.extent.len() != shape.len() {
            return Err(format!("it has {} dimensions, the tensor {}", proto.extent.len(), shape.len()));
        }
        let sides = proto.extent.iter().zip(shape).map(|(extent, &dim)| {
            let start = usize::try_from(extent.start).ok()?;
            let length = match extent.length {
                Some(length) => usize::try_from(length).ok()?,
                None => dim.checked_sub(start)?,
            };
            (start.checked_add(length)? <= dim).then_some((start, length))
        });
        let (start, length) = sides
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| format!("it reaches beyond the tensor's shape {shape:?}"))?
            .into_iter()
            .unzip();
        Ok(Self { start, length })
    }

    fn overlaps(&self, other: &Self) -> bool {
        let sides = (self.start.iter().zip(&self.length)).zip(other.start.iter().zip(&other.length));
        // All sums are at most a dimension of the tensor.
        sides.into_iter().all(|((&a, &a_len), (&b, &b_len))| a.max(b) < (a + a_len).min(b + b_len))
    }

    /// Copies the elements of this box, `part`, to their places in `whole`, a tensor of `shape`.
    /// `None` when the sizes do not fit together.
    pub(crate) fn copy(&self, part: &[u8], shape: &[usize], element: usize, whole: &mut [u8]) -> Option<()> {
        let (rows, row) = match self.length.split_last() {
            Some((&last, outer)) => (elements(outer)?, last.checked_mul(element)?),
            None => (1, element),
        };
        if row == 0 {
            return Some(());
        }
        let mut parts = part.chunks_exact(row);
        let mut index = vec![0usize; self.length.len().saturating_sub(1)];
        for _ in 0..rows {
            let mut at = 0usize;
            for (axis, &dim) in shape.iter().enumerate() {
                let within = index.get(axis).copied().unwrap_or(0);
                at = at.checked_mul(dim)?.checked_add(self.start.get(axis)?.checked_add(within)?)?;
            }
            let at = at.checked_mul(element)?;
            whole.get_mut(at..at.checked_add(row)?)?.copy_from_slice(parts.next()?);
            // The next row: count up from the last axis but one.
            for (i, &length) in index.iter_mut().zip(&self.length).rev() {
                *i += 1;
                if *i < length {
                    break;
                }
                *i = 0;
            }
        }
        Some(())
    }
}

impl fmt::Display for Slice {
    /// As TensorFlow writes it: `start,length` for each dimension.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (axis, (start, length)) in self.start.iter().zip(&self.length).enumerate() {
            write!(f, "{}{start},{length}", if axis == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// Why some boxes do not make up a tensor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotCovered<'a> {
    Overlap(&'a Slice, &'a Slice),
    Gap { covered: usize },
}

/// Checks that boxes which all lie within `shape` cover it exactly.
pub(crate) fn check_cover<'a>(slices: &'a [Slice], shape: &[usize]) -> Result<(), NotCovered<'a>> {
    for (i, first) in slices.iter().enumerate() {
        if let Some(second) = slices.iter().skip(i + 1).find(|second| first.overlaps(second)) {
            return Err(NotCovered::Overlap(first, second));
        }
    }
    // Without an overlap, equal volumes mean that nothing is left out.
    let covered = slices.iter().filter_map(|s| elements(&s.length)).fold(0, usize::saturating_add);
    if Some(covered) == elements(shape) { Ok(()) } else { Err(NotCovered::Gap { covered }) }
}

/// The key under which a checkpoint's index has the data of a slice: TensorFlow's OrderedCode of a zero,
/// the name, the rank, and each dimension's start and length (−1 where the slice has all of it).
pub(crate) fn key(name: &str, proto: &SliceProto) -> Vec<u8> {
    let mut key = vec![0];
    for byte in name.bytes() {
        key.push(byte);
        match byte {
            0x00 => key.push(0xff),
            0xff => key.push(0x00),
            _ => {}
        }
    }
    key.extend([0, 1]);
    let rank = (proto.extent.len() as u64).to_be_bytes();
    let digits = rank.iter().copied().skip_while(|&b| b == 0);
    key.push(digits.clone().map(|_| 1).sum());
    key.extend(digits);
    for extent in &proto.extent {
        push_signed(&mut key, extent.start);
        push_signed(&mut key, extent.length.unwrap_or(-1));
    }
    key
}

/// OrderedCode's signed numbers: n bytes carry 7·n bits, and n is told by the leading ones (of a negative
/// number, zeros), so that the bytes sort as the numbers do.
fn push_signed(key: &mut Vec<u8>, value: i64) {
    const HEADERS: [[u8; 2]; 10] = [
        [0x80, 0],
        [0xc0, 0],
        [0xe0, 0],
        [0xf0, 0],
        [0xf8, 0],
        [0xfc, 0],
        [0xfe, 0],
        [0xff, 0],
        [0xff, 0x80],
        [0xff, 0xc0],
    ];
    let magnitude = if value < 0 { !value } else { value };
    let bits = 64 - magnitude.leading_zeros() as usize;
    let length = bits / 7 + 1;

    let wide = i128::from(value).to_be_bytes();
    let mut code = wide.get(wide.len() - length..).unwrap_or_default().to_vec();
    for (byte, header) in code.iter_mut().zip(HEADERS.get(length - 1).into_iter().flatten()) {
        *byte ^= header;
    }
    key.extend(code);
}

#[cfg(test)]
mod tests {
    use super::super::tf_proto::Extent;
    use super::*;

    fn proto(sides: &[(i64, Option<i64>)]) -> SliceProto {
        SliceProto { extent: sides.iter().map(|&(start, length)| Extent { start, length }).collect() }
    }

    fn slice(sides: &[(usize, usize)]) -> Slice {
        let (start, length) = sides.iter().copied().unzip();
        Slice { start, length }
    }

    fn signed(value: i64) -> Vec<u8> {
        let mut key = Vec::new();
        push_signed(&mut key, value);
        key
    }

    #[test]
    fn keys_are_those_that_tensorflow_writes() {
        // From the index of the fixture `partitioned`.
        assert_eq!(
            key("part/cols", &proto(&[(0, Some(4)), (3, Some(3))])),
            b"\0part/cols\0\x01\x01\x02\x80\x84\x83\x83"
        );
        assert_eq!(key("a\0b", &proto(&[])), b"\0a\0\xffb\0\x01\x00");
    }

    #[test]
    fn signed_numbers_are_those_of_ordered_code() {
        assert_eq!(signed(0), [0x80]);
        assert_eq!(signed(63), [0xbf]);
        assert_eq!(signed(64), [0xc0, 0x40]);
        assert_eq!(signed(-1), [0x7f]);
        assert_eq!(signed(-64), [0x40]);
        assert_eq!(signed(-65), [0x3f, 0xbf]);
        assert_eq!(signed(8191), [0xdf, 0xff]);
        assert_eq!(signed(8192), [0xe0, 0x20, 0x00]);
        assert_eq!(signed(i64::MAX), [0xff, 0xc0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(signed(i64::MIN), [0x00, 0x3f, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn numbers_sort_as_their_codes_do() {
        let numbers: Vec<i64> = (0..63).flat_map(|n| [1 << n, (1 << n) - 1, -(1 << n)]).collect();
        for &a in &numbers {
            for &b in &numbers {
                assert_eq!(a.cmp(&b), signed(a).cmp(&signed(b)), "{a} {b}");
            }
        }
    }

    #[test]
    fn a_slice_without_a_length_has_the_whole_dimension() {
        assert_eq!(Slice::new(&proto(&[(2, Some(1)), (0, None)]), &[3, 5]), Ok(slice(&[(2, 1), (0, 5)])));
    }

    #[test]
    fn a_slice_beyond_the_shape_is_refused() {
        for bad in [(0, Some(4)), (3, Some(1)), (-1, Some(1)), (0, Some(-1)), (i64::MAX, Some(i64::MAX)), (4, None)] {
            assert!(Slice::new(&proto(&[bad]), &[3]).is_err(), "{bad:?}");
        }
        assert!(Slice::new(&proto(&[]), &[3]).is_err());
    }

    #[test]
    fn boxes_that_overlap_or_leave_a_gap_are_told() {
        let (left, right) = (slice(&[(0, 2), (0, 2)]), slice(&[(0, 2), (2, 1)]));
        assert_eq!(check_cover(&[left.clone(), right.clone()], &[2, 3]), Ok(()));
        assert_eq!(check_cover(std::slice::from_ref(&left), &[2, 3]), Err(NotCovered::Gap { covered: 4 }));
        let wide = slice(&[(1, 1), (1, 2)]);
        assert_eq!(check_cover(&[left.clone(), wide.clone()], &[2, 3]), Err(NotCovered::Overlap(&left, &wide)));
    }

    #[test]
    fn boxes_are_copied_to_their_places() {
        let mut whole = [0u8; 12]; // [2, 3, 2]
        slice(&[(0, 2), (1, 2), (1, 1)]).copy(&[1, 2, 3, 4], &[2, 3, 2], 1, &mut whole).unwrap();
        assert_eq!(whole, [0, 0, 0, 1, 0, 2, 0, 0, 0, 3, 0, 4]);
        assert_eq!(slice(&[(0, 2)]).copy(&[1], &[2], 1, &mut whole), None);
    }
}
