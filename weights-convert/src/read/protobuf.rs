//! The fields of a protobuf message, one at a time and where they lie: nothing is copied, so that a message takes no more
//! memory than its file, whatever it repeats.

use super::varint::{take, take_len, take_varint};

/// A field's value as the wire has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// A string, a message, or numbers that are packed.
    Bytes(&'a [u8]),
}

/// The message is cut short, or is none: groups, which nobody uses any more, count as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoMessage;

/// The fields of a message, each with its number.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let left = &mut self.0;
        let tag = take_varint(left)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(take_varint(left)?),
            1 => Wire::Fixed64(*take(left, 8)?.first_chunk()?),
            2 => {
                let len = take_len(left)?;
                Wire::Bytes(take(left, len)?)
            }
            5 => Wire::Fixed32(*take(left, 4)?.first_chunk()?),
            _ => return None,
        };
        Some((tag >> 3, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), NoMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or(NoMessage);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// The last field of a number that is a string or a message; `None` where there is none.
pub(crate) fn last(message: &[u8], number: u64) -> Result<Option<&[u8]>, NoMessage> {
    let mut last = None;
    for field in Fields::of(message) {
        if let (found, Wire::Bytes(bytes)) = field?
            && found == number
        {
            last = Some(bytes);
        }
    }
    Ok(last)
}

/// Calls `visit` with the integers of a repeated field, packed or not, until it returns false.
pub(crate) fn integers(message: &[u8], number: u64, mut visit: impl FnMut(u64) -> bool) -> Result<(), NoMessage> {
    for field in Fields::of(message) {
        match field? {
            (found, Wire::Varint(value)) if found == number && !visit(value) => return Ok(()),
            (found, Wire::Bytes(mut packed)) if found == number => {
                while !packed.is_empty() {
                    if !visit(take_varint(&mut packed).ok_or(NoMessage)?) {
                        return Ok(());
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_wire_type_are_found() {
        let message = b"\x08\x96\x01\x11\x01\x02\x03\x04\x05\x06\x07\x08\x1a\x02hi\x25\x01\x02\x03\x04";
        let fields: Result<Vec<_>, _> = Fields::of(message).collect();
        let expected = [
            (1, Wire::Varint(150)),
            (2, Wire::Fixed64([1, 2, 3, 4, 5, 6, 7, 8])),
            (3, Wire::Bytes(b"hi")),
            (4, Wire::Fixed32([1, 2, 3, 4])),
        ];
        assert_eq!(fields.unwrap(), expected);
    }

    #[test]
    fn what_is_cut_short_or_a_group_is_no_message() {
        for message in [&b"\x08"[..], b"\x1a\x05hi", b"\x11\x01", b"\x0b\x0c", b"\x0f", &[0xff; 11]] {
            let fields: Vec<_> = Fields::of(message).collect();
            assert_eq!(fields.last(), Some(&Err(NoMessage)), "{message:x?}");
        }
    }

    #[test]
    fn integers_may_be_packed_or_not() {
        let mut values = vec![];
        let collect = |value| {
            values.push(value);
            true
        };
        integers(b"\x18\x01\x1a\x03\x02\xac\x02\x20\x07\x18\x03", 3, collect).unwrap();
        assert_eq!(values, [1, 2, 300, 3]);
        assert_eq!(integers(b"\x1a\x01\x80", 3, |_| true), Err(NoMessage));
    }

    #[test]
    fn the_last_of_a_field_counts() {
        assert_eq!(last(b"\x0a\x01a\x12\x01b\x0a\x01c", 1), Ok(Some(&b"c"[..])));
        assert_eq!(last(b"\x08\x01", 1), Ok(None));
    }
}
