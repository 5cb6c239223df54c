//! A memory allocator that keeps large blocks for the next time.
//!
//! The system's allocator gives blocks of feature maps' size back to the operating system at once, which then fills
//! each page of the next one with zeros, when it is touched: where that takes long, as on virtual machines, it takes
//! longer than the computation. Training asks for the same sizes in every step.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Blocks from this size on are kept.
const LARGE: usize = 1 << 20;
/// How many blocks are kept at most.
const SLOTS: usize = 256;

/// A memory allocator that keeps large blocks that are given back, and hands them out again for requests of about the
/// same size. It never holds more memory than the program has used at once before. A program that trains chooses it:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: candle_deeplab::Recycling = candle_deeplab::Recycling::new();
/// ```
pub struct Recycling(Mutex<Kept>);

/// The blocks that wait, from the oldest to the newest.
struct Kept {
    blocks: [Option<Block>; SLOTS],
    count: usize,
    /// Bytes of the blocks that wait.
    waiting: usize,
    /// Bytes of the large blocks in use, now and at most.
    used: usize,
    most_used: usize,
}

#[derive(Clone, Copy)]
struct Block {
    /// Where it lies. It is owned, so it may be sent to another thread.
    address: usize,
    layout: Layout,
}

impl Recycling {
    /// An allocator that keeps nothing yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Kept { blocks: [None; SLOTS], count: 0, waiting: 0, used: 0, most_used: 0 }))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Kept) -> R) -> R {
        // Nothing below panics.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A block of a [class](class): one that has waited, or one that `fresh` gives; and whether it has waited.
    fn take(&self, class: Layout, fresh: impl FnOnce(Layout) -> *mut u8) -> (*mut u8, bool) {
        let waiting = self.with(|kept| {
            let block = kept.take(class);
            kept.use_more(class.size());
            block
        });
        if let Some(block) = waiting {
            return (block.address as *mut u8, true);
        }
        let address = fresh(class);
        if address.is_null() {
            self.with(|kept| kept.used -= class.size());
        }
        (address, false)
    }
}

impl Default for Recycling {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Recycling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recycling").finish_non_exhaustive()
    }
}

impl Kept {
    fn take(&mut self, layout: Layout) -> Option<Block> {
        // The newest one is the likeliest to be in a cache.
        let found = self.blocks[..self.count].iter().rposition(|block| block.is_some_and(|b| b.layout == layout))?;
        self.remove(found)
    }

    fn remove(&mut self, index: usize) -> Option<Block> {
        let block = self.blocks[index].take()?;
        self.blocks[index..self.count].rotate_left(1);
        self.count -= 1;
        self.waiting -= block.layout.size();
        Some(block)
    }

    fn use_more(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes);
        self.most_used = self.most_used.max(self.used);
        self.make_room(0);
    }

    /// Keeps a block that is no longer in use.
    fn put(&mut self, block: Block) {
        self.used -= block.layout.size();
        self.make_room(block.layout.size());
        self.blocks[self.count] = Some(block);
        self.count += 1;
        self.waiting += block.layout.size();
    }

    /// Gives back the oldest blocks, until there is a slot, and no more memory in use or waiting, with `bytes` more of
    /// it, than has been in use at once.
    fn make_room(&mut self, bytes: usize) {
        while self.count == SLOTS || self.used.saturating_add(self.waiting).saturating_add(bytes) > self.most_used {
            let Some(block) = (self.count > 0).then(|| self.remove(0)).flatten() else { return };
            // SAFETY: the block came from there with this layout, and nobody uses it.
            unsafe { System.dealloc(block.address as *mut u8, block.layout) }
        }
    }
}

/// The layout that a large block gets: its size is rounded up by at most an eighth, so that nearly equal requests share
/// blocks. What is not touched takes no memory. `None` for small blocks.
fn class(layout: Layout) -> Option<Layout> {
    let size = layout.size();
    if size < LARGE {
        return None;
    }
    let step = 1 << (size.ilog2() - 3);
    Layout::from_size_align(size.checked_next_multiple_of(step)?, layout.align()).ok()
}

// SAFETY: small blocks are the system's. A large one comes from the system with the layout of its class, which is found
// again from the layout that it was asked for with; while it waits, nobody else has it.
unsafe impl GlobalAlloc for Recycling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class(layout) {
            // SAFETY: the layout of a large block has a size.
            Some(class) => self.take(class, |class| unsafe { System.alloc(class) }).0,
            // SAFETY: the caller's promise.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc_zeroed(layout) };
        };
        // SAFETY: the layout of a large block has a size.
        let (address, waited) = self.take(class, |class| unsafe { System.alloc_zeroed(class) });
        if waited {
            // SAFETY: the block has at least this size.
            unsafe { address.write_bytes(0, layout.size()) };
        }
        address
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        match class(layout) {
            Some(layout) => self.with(|kept| kept.put(Block { address: address as usize, layout })),
            // SAFETY: the caller's promise.
            None => unsafe { System.dealloc(address, layout) },
        }
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size does not overflow when it is rounded up to the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (class(layout), class(new)) {
            // SAFETY: the caller's promise.
            (None, None) => unsafe { System.realloc(address, layout, size) },
            (Some(old), Some(new)) if old == new => address,
            // The system moves pages instead of copying them.
            (Some(old), Some(new)) => {
                self.with(|kept| kept.use_more(new.size()));
                // SAFETY: the block came from the system with the layout of its class.
                let moved = unsafe { System.realloc(address, old, new.size()) };
                let freed = if moved.is_null() { new } else { old };
                self.with(|kept| kept.used -= freed.size());
                moved
            }
            // SAFETY: the caller's promises hold for all three calls; the blocks do not overlap.
            _ => unsafe {
                let moved = self.alloc(new);
                if !moved.is_null() {
                    moved.copy_from_nonoverlapping(address, layout.size().min(size));
                    self.dealloc(address, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 64).unwrap()
    }

    /// A block whose bytes are all `byte`.
    fn filled(of: &Recycling, size: usize, byte: u8) -> *mut u8 {
        // SAFETY: the size is not nought, and the block has it.
        unsafe {
            let block = of.alloc(layout(size));
            block.write_bytes(byte, size);
            block
        }
    }

    fn bytes<'a>(block: *mut u8, size: usize) -> &'a [u8] {
        // SAFETY: the tests ask for filled blocks of this size.
        unsafe { std::slice::from_raw_parts(block, size) }
    }

    fn give_back(to: &Recycling, block: *mut u8, size: usize) {
        // SAFETY: the block came from there with this layout.
        unsafe { to.dealloc(block, layout(size)) }
    }

    #[test]
    fn a_large_block_is_used_again() {
        let memory = Recycling::new();
        let size = 3 * LARGE + 17;
        let first = filled(&memory, size, 1);
        give_back(&memory, first, size);
        // About the same size.
        let second = filled(&memory, size + 1000, 2);
        assert_eq!(first, second);
        give_back(&memory, second, size + 1000);
        // SAFETY: the size is not nought.
        let zeroed = unsafe { memory.alloc_zeroed(layout(size)) };
        assert_eq!(first, zeroed);
        assert!(bytes(zeroed, size).iter().all(|byte| *byte == 0));
        give_back(&memory, zeroed, size);
    }

    #[test]
    fn no_more_is_held_than_was_used_at_once() {
        let memory = Recycling::new();
        let blocks: Vec<_> = (1..9).map(|i| (filled(&memory, i * LARGE, 1), i * LARGE)).collect();
        let most = memory.with(|kept| kept.used);
        blocks.into_iter().for_each(|(block, size)| give_back(&memory, block, size));
        assert_eq!(memory.with(|kept| (kept.used, kept.waiting, kept.most_used)), (0, most, most));
        // Of a size that nothing waits with: older blocks make room for it.
        let large = filled(&memory, 20 * LARGE, 1);
        let held = memory.with(|kept| kept.used + kept.waiting);
        assert!(held <= most, "{held} of {most}");
        give_back(&memory, large, 20 * LARGE);
        assert!(memory.with(|kept| kept.used + kept.waiting) <= most);
    }

    #[test]
    fn there_is_always_a_slot() {
        let memory = Recycling::new();
        let blocks: Vec<_> = (0..SLOTS + 10).map(|_| filled(&memory, LARGE, 1)).collect();
        blocks.into_iter().for_each(|block| give_back(&memory, block, LARGE));
        assert_eq!(memory.with(|kept| (kept.count, kept.used)), (SLOTS, 0));
    }

    #[test]
    fn a_block_that_grows_or_shrinks_keeps_its_bytes() {
        let memory = Recycling::new();
        let sizes = [1000, LARGE - 1, LARGE, LARGE + 5, 5 * LARGE, 2 * LARGE, 300];
        let mut block = filled(&memory, sizes[0], 7);
        for pair in sizes.windows(2) {
            // SAFETY: the block has the first of the sizes; the new part is filled before it is read.
            unsafe {
                block = memory.realloc(block, layout(pair[0]), pair[1]);
                assert!(bytes(block, pair[0].min(pair[1])).iter().all(|byte| *byte == 7), "{pair:?}");
                block.write_bytes(7, pair[1]);
            }
        }
        give_back(&memory, block, 300);
        assert_eq!(memory.with(|kept| kept.used), 0);
    }

    #[test]
    fn threads_do_not_get_the_same_block() {
        let memory = Recycling::new();
        std::thread::scope(|scope| {
            for byte in 0..4u8 {
                let memory = &memory;
                scope.spawn(move || {
                    for round in 0..50 {
                        let size = LARGE * (1 + round % 3);
                        let block = filled(memory, size, byte);
                        assert!(bytes(block, size).iter().all(|b| *b == byte));
                        give_back(memory, block, size);
                    }
                });
            }
        });
        assert_eq!(memory.with(|kept| kept.used), 0);
    }
}
