//! Label Studio's run lengths for brushes: thi.ng's rle-pack, as `label_studio_sdk.converter.brush` writes and reads it.

/// Sizes of run lengths in bits; the header names them, each less one.
const SIZES: [u32; 4] = [3, 4, 8, 16];

/// Bits of a value.
const WORD: u32 = 8;

/// A brush takes each pixel four times: red, green, blue and opacity.
const REPEATED: usize = 4;

/// The bytes of the mask of the pixels that `is_set` says, or `None` where there are more than the format can count.
pub(super) fn encode(ids: &[u8], is_set: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let count = u32::try_from(ids.len().checked_mul(REPEATED)?).ok()?;
    let mut bits = Bits::default();
    bits.push(count.into(), 32);
    bits.push(u64::from(WORD - 1), 5);
    SIZES.iter().for_each(|size| bits.push(u64::from(size - 1), 4));
    for run in ids.chunk_by(|a, b| is_set(*a) == is_set(*b)) {
        let value = if is_set(run[0]) { 255 } else { 0 };
        let mut left = run.len() * REPEATED;
        while left > 0 {
            // The smallest size that holds the run, or the largest.
            let index = SIZES.iter().position(|size| left <= 1 << size).unwrap_or(SIZES.len() - 1);
            let length = left.min(1 << SIZES[index]);
            bits.push(1, 1);
            bits.push(index as u64, 2);
            bits.push(length as u64 - 1, SIZES[index]);
            bits.push(value, WORD);
            left -= length;
        }
    }
    Some(bits.finish())
}

/// Bits, the most significant first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits that are no whole byte yet.
    pending: u64,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u64, bits: u32) {
        self.pending = self.pending << bits | value;
        self.count += bits;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.pending >> self.count) as u8);
        }
        self.pending &= (1 << self.count) - 1;
    }

    /// The bytes. As Label Studio's own encoder does, a byte of zeros follows where there is nothing to fill up.
    fn finish(mut self) -> Vec<u8> {
        self.bytes.push((self.pending << (8 - self.count)) as u8);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(ids: &[u8]) -> Vec<u8> {
        encode(ids, |id| id != 0).unwrap()
    }

    /// What `mask2rle` of label-studio-sdk 2.1.2 gives.
    #[test]
    fn bytes_are_those_of_label_studios_own_encoder() {
        let small = [0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0];
        assert_eq!(mask(&small), [0, 0, 0, 48, 57, 27, 252, 96, 17, 255, 198, 1, 31, 252, 96, 22, 255, 239, 128, 0]);
        let mut square = [0; 256];
        (4..12).for_each(|y| square[16 * y + 3..16 * y + 9].fill(1));
        square[255] = 1;
        let expected = [
            0, 0, 4, 0, 57, 27, 255, 1, 11, 0, 194, 255, 248, 156, 3, 11, 255, 226, 112, 12, 47, 255, 137, 192, 48,
            191, 254, 39, 0, 194, 255, 248, 156, 3, 11, 255, 226, 112, 12, 47, 255, 137, 192, 48, 191, 255, 1, 23, 0,
            143, 252,
        ];
        assert_eq!(mask(&square), expected);
        assert_eq!(mask(&[0; 4]), [0, 0, 0, 16, 57, 27, 253, 240, 0]);
        let full = [
            0, 5, 126, 64, 57, 27, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
            254, 252, 127, 254,
        ];
        assert_eq!(mask(&vec![1; 300 * 300]), full);
    }
}
