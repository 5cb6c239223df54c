//! Memory for floats: at the beginning of a cache line, and in huge pages where it is large.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// Floats that begin at a cache line, so that no vector of a row that does too lies across two. Allocators promise 16 bytes.
#[derive(Debug, Default)]
pub(super) struct Aligned {
    data: Memory,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(super) fn zeroed(len: usize) -> Self {
        #[cfg(target_os = "linux")]
        if let Some((map, start)) = huge::zeroed(len) {
            return Self { data: Memory::Huge(map), start, len };
        }
        let data = vec![0.0; len + LINE / size_of::<f32>()];
        // Where the offset cannot be known the data is as it is: slower, not wrong.
        let start = data.as_ptr().align_offset(LINE).min(data.len() - len);
        Self { data: Memory::Heap(data), start, len }
    }

    /// Two slices of these lengths. What was there may be lost.
    pub(super) fn split(&mut self, first: usize, second: usize) -> (&mut [f32], &mut [f32]) {
        self.grow(first + second);
        self[..first + second].split_at_mut(first)
    }

    /// Makes room for at least `len` floats. What was there may be lost.
    pub(super) fn grow(&mut self, len: usize) {
        if self.len < len {
            // The old memory goes before the new comes.
            *self = Self::default();
            *self = Self::zeroed(len);
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let all = match &self.data {
            Memory::Heap(data) => data,
            #[cfg(target_os = "linux")]
            Memory::Huge(map) => bytemuck::cast_slice(map),
        };
        &all[self.start..][..self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        let all = match &mut self.data {
            Memory::Heap(data) => &mut data[..],
            #[cfg(target_os = "linux")]
            Memory::Huge(map) => bytemuck::cast_slice_mut(map),
        };
        &mut all[self.start..][..self.len]
    }
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<f32>),
    #[cfg(target_os = "linux")]
    Huge(memmap2::MmapMut),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

/// The kernel gives memory page by page when it is first touched, which for weights and maps takes longer than filling
/// them. Huge pages are 512 times fewer; Linux gives them to who asks.
#[cfg(target_os = "linux")]
mod huge {
    use memmap2::{Advice, MmapMut};

    /// Bytes of a huge page.
    const PAGE: usize = 2 << 20;

    /// Zeroed memory for so many floats, and which of its floats is the first; `None` for little memory, or where the
    /// system does not give it.
    pub(super) fn zeroed(len: usize) -> Option<(MmapMut, usize)> {
        let bytes = len.checked_mul(size_of::<f32>()).filter(|bytes| *bytes >= PAGE)?;
        // What lies before the first huge page is never touched, so it is no memory. What is left after the last whole one
        // is in small pages.
        let map = MmapMut::map_anon(bytes.checked_add(PAGE)?).ok()?;
        let start = map.as_ptr().align_offset(PAGE).min(PAGE);
        // A system that has none says so, and gives small ones.
        let _ = map.advise_range(Advice::HugePage, start, bytes / PAGE * PAGE);
        Some((map, start / size_of::<f32>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_memory_is_zero_and_begins_at_a_line() {
        for len in [0, 1, 100, (2 << 18) - 1, 2 << 18, 3_000_001] {
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
