//! Float buffers that begin at a cache line.

use std::ops::{Deref, DerefMut};

/// The size in bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// A float buffer that begins at a cache line. If a row does so as well, none of its vectors straddles two lines.
/// Allocators align to only 16 bytes.
#[derive(Debug, Default)]
pub(super) struct Aligned {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(super) fn zeroed(len: usize) -> Self {
        let data = vec![0.0; len + LINE / size_of::<f32>()];
        // The offset may be unknown (under Miri): vectors may then straddle lines, which is slower but not wrong.
        let start = data.as_ptr().align_offset(LINE).min(data.len() - len);
        Self { data, start, len }
    }

    /// Returns two slices of these lengths. Their former content may be lost.
    pub(super) fn split(&mut self, first: usize, second: usize) -> (&mut [f32], &mut [f32]) {
        self.grow(first + second);
        self[..first + second].split_at_mut(first)
    }

    /// Makes room for at least `len` floats. Their former content may be lost.
    pub(super) fn grow(&mut self, len: usize) {
        if self.len < len {
            // The old memory is freed before the new is allocated.
            *self = Self::default();
            *self = Self::zeroed(len);
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[self.start..][..self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zero_and_begins_at_a_line() {
        for len in [0, 1, 100, 3_000_001] {
            let mut memory = Aligned::zeroed(len);
            assert_eq!(memory.len(), len);
            assert!(memory.iter().all(|value| *value == 0.0));
            assert!(memory.as_ptr().cast::<u8>().align_offset(LINE) == 0 || len == 0);
            memory.fill(1.0);
            let (a, b) = memory.split(len / 2, len - len / 2);
            assert_eq!((a.len(), b.len()), (len / 2, len - len / 2));
        }
    }
}
