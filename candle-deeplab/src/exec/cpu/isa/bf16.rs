//! bf16 numbers, two to a 32-bit word.

use half::bf16;

use crate::exec::choice::Precision;

/// Values per 32-bit word.
pub(super) fn per_word(precision: Precision) -> usize {
    match precision {
        Precision::F32 => 1,
        Precision::Bf16 => 2,
    }
}

/// Packs two numbers into a word, rounded to nearest, ties to even.
pub(super) fn word([first, second]: [f32; 2]) -> f32 {
    let bits = |x: f32| u32::from(bf16::from_f32(x).to_bits());
    f32::from_bits(bits(first) | bits(second) << 16)
}

/// Unpacks the two numbers of a word.
pub(super) fn pair(word: f32) -> [f32; 2] {
    [f32::from_bits(word.to_bits() << 16), f32::from_bits(word.to_bits() & 0xffff_0000)]
}

/// Rounds numbers, two to a word; an odd number at the end is paired with zero.
pub(super) fn round(x: &[f32], words: &mut [f32]) {
    for (x, to) in x.chunks(2).zip(words) {
        *to = word([x[0], x.get(1).copied().unwrap_or_default()]);
    }
}
