//! Numbers of bf16, two in a word of 32 bits.

use half::bf16;

use crate::exec::choice::Precision;

/// Values that a 32-bit word holds.
pub(super) fn per_word(precision: Precision) -> usize {
    match precision {
        Precision::F32 => 1,
        Precision::Bf16 => 2,
    }
}

/// Two numbers as a word, rounded to the nearest, ties to even.
pub(super) fn word([first, second]: [f32; 2]) -> f32 {
    let bits = |x: f32| u32::from(bf16::from_f32(x).to_bits());
    f32::from_bits(bits(first) | bits(second) << 16)
}

/// The two numbers of a word.
pub(super) fn pair(word: f32) -> [f32; 2] {
    [f32::from_bits(word.to_bits() << 16), f32::from_bits(word.to_bits() & 0xffff_0000)]
}

/// Rounds numbers, two to each of the words; the second of a last one that has none is zero.
pub(super) fn round(x: &[f32], words: &mut [f32]) {
    for (x, to) in x.chunks(2).zip(words) {
        *to = word([x[0], x.get(1).copied().unwrap_or_default()]);
    }
}
