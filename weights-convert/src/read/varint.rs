//! The variable-length integers that protobuf and LevelDB share.

/// Takes a varint off the front of `bytes`; `None` when it is cut short or does not fit 64 bits.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for a single bit.
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A varint that has to be an index or a length.
pub(crate) fn take_len(bytes: &mut &[u8]) -> Option<usize> {
    take_varint(bytes).and_then(|value| usize::try_from(value).ok())
}

/// Takes `n` bytes off the front of `bytes`.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_length() {
        let mut bytes = &[0x00, 0x7f, 0x80, 0x01, 0xac, 0x02, 0xff][..];
        let values: Vec<_> = (0..5).map(|_| take_varint(&mut bytes)).collect();
        assert_eq!(values, [Some(0), Some(127), Some(128), Some(300), None]);
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(take_varint(&mut &max[..]), Some(u64::MAX));
    }

    #[test]
    fn more_than_64_bits_are_no_value() {
        assert_eq!(take_varint(&mut &[0xff; 11][..]), None);
        let two_bits_too_many = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x03];
        assert_eq!(take_varint(&mut &two_bits_too_many[..]), None);
    }
}
