//! Entropy-coded data, bit by bit (ITU-T T.81, F.2.2).

/// Why a scan cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The file, or the data before the next marker, have no more bits.
    Exhausted,
    /// No symbol has this code.
    BadCode,
}

/// The bits of a stretch of data that ends before the next marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte that is not in `buffer` yet.
    at: usize,
    /// Its upper `left` bits are the next ones, and zeros follow.
    buffer: u64,
    left: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, buffer: 0, left: 0 }
    }

    /// Makes at least 57 bits available, as far as there are so many.
    #[inline]
    fn fill(&mut self) {
        while self.left <= 56 {
            let byte = match self.bytes.get(self.at) {
                None => return,
                Some(0xff) if self.bytes.get(self.at + 1) == Some(&0) => {
                    self.at += 2;
                    0xff
                }
                // A marker.
                Some(0xff) => return,
                Some(byte) => {
                    self.at += 1;
                    *byte
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.left);
            self.left += 8;
        }
    }

    /// The next 16 bits, which stay; zeros stand for those behind the end.
    #[inline]
    pub(super) fn peek(&mut self) -> u16 {
        if self.left < 32 {
            self.fill();
        }
        (self.buffer >> 48) as u16
    }

    /// Goes over at most 16 bits.
    #[inline]
    pub(super) fn skip(&mut self, bits: u32) -> Result<(), Stop> {
        if self.left < bits {
            self.fill();
            if self.left < bits {
                return Err(Stop::Exhausted);
            }
        }
        self.buffer <<= bits;
        self.left -= bits;
        Ok(())
    }

    /// The next bits, at most 16, as a number.
    pub(super) fn take(&mut self, bits: u32) -> Result<u32, Stop> {
        let value = if bits == 0 { 0 } else { u32::from(self.peek()) >> (16 - bits) };
        self.skip(bits).map(|()| value)
    }

    /// Where the next marker is, which ends this stretch; the end of the file where there is none.
    pub(super) fn marker(&self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_marker = |pair: &[u8]| pair[0] == 0xff && pair[1] != 0 && pair[1] != 0xff;
        rest.windows(2).position(is_marker).map_or(self.bytes.len(), |offset| self.at + offset)
    }

    /// Goes on behind a restart marker.
    pub(super) fn restart(&mut self) -> Result<(), Stop> {
        let marker = self.marker();
        if !matches!(self.bytes.get(marker + 1), Some(0xd0..=0xd7)) {
            return Err(Stop::Exhausted);
        }
        *self = Self::new(self.bytes, marker + 2);
        Ok(())
    }
}
