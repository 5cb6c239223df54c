//! Huffman codes (ITU-T T.81, annex C and F.2.2.3).

use super::bits::{Bits, Stop};

/// Codes up to this length are looked up.
const FAST: u32 = 9;

/// A table of codes.
pub(super) struct Table {
    /// By the next bits: the length of a code above its symbol; 0 where the code is longer.
    fast: Vec<u16>,
    /// By length: one more than the last code; 0 where none has this length.
    end: [u32; 17],
    /// By length: what has to be added to a code for the place of its symbol.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// Takes the numbers of codes of each length, and the symbols; `None` where such codes cannot exist.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Self { fast: vec![0; 1 << FAST], end: [0; 17], offset: [0; 17], symbols: symbols.to_owned() };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, count) in (1_u32..).zip(counts) {
            table.offset[length as usize] = place as i32 - code as i32;
            for _ in 0..*count {
                let symbol = *symbols.get(place)?;
                if code >= 1 << length {
                    return None;
                }
                if length <= FAST {
                    let (first, count) = ((code << (FAST - length)) as usize, 1 << (FAST - length));
                    table.fast[first..first + count].fill((length as u16) << 8 | u16::from(symbol));
                }
                code += 1;
                place += 1;
            }
            if *count > 0 {
                table.end[length as usize] = code;
            }
            code <<= 1;
        }
        Some(table)
    }

    /// Reads a symbol.
    #[inline]
    pub(super) fn symbol(&self, bits: &mut Bits) -> Result<u8, Stop> {
        let next = u32::from(bits.peek());
        let entry = self.fast[(next >> (16 - FAST)) as usize];
        if entry != 0 {
            return bits.skip(u32::from(entry >> 8)).map(|()| entry as u8);
        }
        for length in FAST + 1..=16 {
            let code = next >> (16 - length);
            if code < self.end[length as usize] {
                bits.skip(length)?;
                let place = usize::try_from(code as i32 + self.offset[length as usize]);
                return place.ok().and_then(|place| self.symbols.get(place)).copied().ok_or(Stop::BadCode);
            }
        }
        Err(Stop::BadCode)
    }
}
