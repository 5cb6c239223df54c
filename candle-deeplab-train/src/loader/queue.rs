//! Threads that make batches, at most so many ahead, and hand them out in order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::{Batch, Recipe, Sampler};
use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    sampler: Sampler,
    ahead: u64,
    state: Mutex<State>,
    /// A batch is ready.
    ready: Condvar,
    /// There is room for another batch, or the end has come.
    room: Condvar,
}

#[derive(Debug)]
struct State {
    /// The next batch to make.
    next: u64,
    /// The next batch to hand out.
    wanted: u64,
    ready: BTreeMap<u64, Result<Batch>>,
    is_over: bool,
}

impl Queue {
    pub(super) fn start(sampler: Sampler, recipe: &Recipe, first: u64) -> Result<Self> {
        let state = State { next: first, wanted: first, ready: BTreeMap::new(), is_over: false };
        let shared = Arc::new(Shared {
            sampler,
            ahead: recipe.ahead as u64,
            state: Mutex::new(state),
            ready: Condvar::new(),
            room: Condvar::new(),
        });
        // Dropped on an error, it ends the threads that have been started.
        let mut queue = Self { shared, threads: vec![] };
        for number in 0..recipe.threads.min(recipe.ahead) {
            let shared = queue.shared.clone();
            let thread = Builder::new().name(format!("loader {number}")).spawn(move || shared.work());
            let reason = "the system starts no further thread: lower `loader.threads`";
            queue.threads.push(thread.map_err(|error| Error::recipe("loader.threads", format!("{reason} ({error})")))?);
        }
        Ok(queue)
    }

    /// How many batches have been made, or are in work.
    #[cfg(test)]
    pub(super) fn made(&self) -> u64 {
        let state = self.shared.lock();
        state.wanted + state.ready.len() as u64
    }

    /// The next batch, as soon as it is ready.
    pub(super) fn next(&self) -> Result<Batch> {
        let mut state = self.shared.lock();
        loop {
            let wanted = state.wanted;
            if let Some(batch) = state.ready.remove(&wanted) {
                state.wanted = wanted.wrapping_add(1);
                self.shared.room.notify_all();
                return batch;
            }
            state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // What went wrong in it can no longer matter to anybody.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(number) = self.take() {
            let goes_on = || !self.lock().is_over;
            // A panic would leave the training waiting for this batch.
            let made = catch_unwind(AssertUnwindSafe(|| self.sampler.batch(number, goes_on))).unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why");
                let dir = &self.sampler.dataset().source().dir;
                Some(Err(Error::data(dir, format!("reading batch {number} crashed: {text}"))))
            });
            let Some(batch) = made else { return };
            self.lock().ready.insert(number, batch);
            self.ready.notify_all();
        }
    }

    /// Waits for room, and takes the number of the next batch; `None` at the end.
    fn take(&self) -> Option<u64> {
        let mut state = self.lock();
        while !state.is_over && state.next.wrapping_sub(state.wanted) >= self.ahead {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_over {
            return None;
        }
        let number = state.next;
        state.next = number.wrapping_add(1);
        Some(number)
    }
}
