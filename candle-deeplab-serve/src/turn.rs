//! A lock that is given in the order of asking, so that no model keeps the network from another.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A lock that is given in the order of asking.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whoever asks next gets this number.
    next: u64,
    /// Who has this number has the lock.
    serving: u64,
}

/// The lock. It is given on when this goes.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for the lock.
    pub(crate) fn take(&self) -> Turn<'_> {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        while state.serving != number {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().serving += 1;
        self.0.changed.notify_all();
    }
}
