//! The memory of a run, and who has how much of it.
//!
//! Pictures on their way share a quarter of what this process may take; the network has the rest, for one picture at a time.
//! A picture that takes more than the quarter waits until it is alone, and then may take what it needs; the network has what
//! that leaves. So what becomes of a picture depends on its size, and not on what else there is at the time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use candle_deeplab::graph::Size;

/// Pictures share one over this of the memory.
const SHARE: u64 = 4;

/// How many bytes there are for a run.
pub(crate) struct Budget {
    /// `None` where nobody knows.
    total: Option<u64>,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    /// What pictures have of their share.
    used: u64,
    /// Whoever comes next gets this number, and who has which number is served.
    next: u64,
    served: u64,
}

/// What a picture has; it is given back when this goes.
pub(crate) struct Claim<'a> {
    budget: &'a Budget,
    /// What is counted: the whole share for a picture that takes more.
    counted: u64,
    /// What it may take.
    pub(crate) bytes: u64,
}

impl Budget {
    pub(crate) fn new(total: Option<u64>) -> Self {
        Self { total, state: Mutex::default(), freed: Condvar::new() }
    }

    /// What pictures may take together.
    fn share(&self) -> u64 {
        self.total.map_or(u64::MAX, |total| total / SHARE)
    }

    /// What the network may take for a picture that has so much.
    pub(crate) fn network(&self, picture: u64) -> Option<u64> {
        self.total.map(|total| total.saturating_sub(self.share().max(picture)))
    }

    /// Waits until there is memory for a picture of a size, which is served in the order of coming.
    ///
    /// # Errors
    /// There will never be so much.
    pub(crate) fn claim(&self, size: Size, bytes: u64) -> Result<Claim<'_>> {
        let most = self.total.unwrap_or(u64::MAX);
        ensure!(
            bytes <= most,
            "the picture's {}×{} pixels take about {} MiB here, and {} MiB are free: make it smaller, or give this program more \
             memory",
            size.width,
            size.height,
            bytes >> 20,
            most >> 20
        );
        let counted = bytes.min(self.share());
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        while state.served != number || state.used > self.share() - counted {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.used += counted;
        state.served += 1;
        drop(state);
        self.freed.notify_all();
        Ok(Claim { budget: self, counted, bytes })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    /// Gives back what is more than `bytes`.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        self.bytes = self.bytes.min(bytes);
        let counted = self.counted.min(self.bytes);
        self.budget.lock().used -= self.counted - counted;
        self.counted = counted;
        self.budget.freed.notify_all();
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    const SIZE: Size = Size { height: 1, width: 1 };

    #[test]
    fn what_never_fits_is_refused_with_the_numbers() {
        let budget = Budget::new(Some(400 << 20));
        let Err(error) = budget.claim(Size::new(20, 30), 401 << 20) else { panic!("it was not refused") };
        let said = error.to_string();
        assert!(said.contains("30×20") && said.contains("401 MiB") && said.contains("400 MiB"), "{said}");
        assert!(Budget::new(None).claim(SIZE, u64::MAX).is_ok());
    }

    /// Pictures of all sizes at once never take more than their share, and those that are larger are alone.
    #[test]
    fn pictures_share_and_huge_ones_are_alone() {
        let budget = Budget::new(Some(400));
        let (now, pictures) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for worker in 0..8_u64 {
                let (budget, now, pictures) = (&budget, &now, &pictures);
                scope.spawn(move || {
                    for turn in 0..50 {
                        let bytes = [10, 60, 100, 399][((worker + turn) % 4) as usize];
                        let mut claim = budget.claim(SIZE, bytes).unwrap();
                        let (taken, others) =
                            (now.fetch_add(bytes, Ordering::SeqCst) + bytes, pictures.fetch_add(1, Ordering::SeqCst));
                        assert!(taken <= 100 || others == 0, "{taken} of 100 by {} pictures", others + 1);
                        thread::yield_now();
                        pictures.fetch_sub(1, Ordering::SeqCst);
                        now.fetch_sub(bytes, Ordering::SeqCst);
                        claim.shrink(bytes / 2);
                    }
                });
            }
        });
        let state = budget.lock();
        assert_eq!((state.used, state.served, state.next), (0, 400, 400));
    }

    #[test]
    fn the_network_has_what_a_picture_leaves() {
        let budget = Budget::new(Some(400));
        assert_eq!((budget.network(1), budget.network(100), budget.network(250)), (Some(300), Some(300), Some(150)));
        assert_eq!(Budget::new(None).network(1), None);
    }
}
