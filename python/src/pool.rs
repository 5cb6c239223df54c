//! The threads that compute, and what `fork` means for them.
//!
//! Rayon's global pool is never used: a forked child has none of its parent's threads, but would believe that the pool is
//! there, and wait for it for ever. So each number of threads has a pool of ours, and the child makes new ones.
//!
//! A fork also copies every lock as it is, and nobody in the child would ever open one that another thread held: those of
//! a model's plans and memory, and cells that are just being filled. All of them are used by jobs of these pools only. So
//! a fork waits until no job runs, and no job begins until it is done. Python calls us before and after
//! (`os.register_at_fork`), which unlike `pthread_atfork` needs no unsafe code, and lets us wait without the interpreter's
//! lock.
//!
//! A pool has as many jobs at a time as threads, and others wait. If all were given to rayon at once, a thread that waits
//! for a part of its image would begin another image meanwhile, and so on, with the memory of all of them.
//!
//! The lock below is never waited for with the interpreter's lock held.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::errors;

/// As many threads as the machine has cores, or as `RAYON_NUM_THREADS` says.
pub(crate) const DEFAULT: usize = 0;

/// What a pool does.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

static STATE: Mutex<State> = Mutex::new(State { pools: BTreeMap::new(), running: 0, forks: 0 });
/// Notified when the last job has ended, and when a fork is done.
static CHANGED: Condvar = Condvar::new();

struct State {
    /// By their numbers of threads.
    pools: BTreeMap<usize, Pool>,
    /// Jobs that run or wait.
    running: usize,
    /// Threads that are about to fork.
    forks: usize,
}

struct Pool {
    threads: ThreadPool,
    /// Jobs that run.
    busy: usize,
    waiting: VecDeque<Job>,
}

fn lock() -> MutexGuard<'static, State> {
    // Nothing panics while it is held.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a job in the pool of `threads` threads. A job must not panic.
///
/// # Errors
/// The threads cannot be started.
pub(crate) fn start(threads: usize, job: Job) -> PyResult<()> {
    let state = CHANGED.wait_while(lock(), |state| state.forks > 0);
    let mut state = state.unwrap_or_else(PoisonError::into_inner);
    let pool = match state.pools.entry(threads) {
        Entry::Occupied(there) => there.into_mut(),
        Entry::Vacant(place) => place.insert(build(threads)?),
    };
    if pool.busy == pool.threads.current_num_threads() {
        pool.waiting.push_back(job);
    } else {
        pool.busy += 1;
        pool.threads.spawn(move || work(threads, job));
    }
    state.running += 1;
    Ok(())
}

/// How many jobs run now, in all pools.
pub(crate) fn busy() -> usize {
    lock().pools.values().map(|pool| pool.busy).sum()
}

/// Does a job, and then those that wait for the pool of `threads` threads.
fn work(threads: usize, first: Job) {
    let mut next = Some(first);
    while let Some(job) = next {
        job();
        next = ended(threads);
    }
}

/// Counts a job of a pool as ended, and gives the pool's next one.
fn ended(threads: usize) -> Option<Job> {
    let mut state = lock();
    state.running -= 1;
    if state.running == 0 {
        CHANGED.notify_all();
    }
    let pool = state.pools.get_mut(&threads)?;
    let next = pool.waiting.pop_front();
    if next.is_none() {
        pool.busy -= 1;
    }
    next
}

fn build(threads: usize) -> PyResult<Pool> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|index| format!("candle-deeplab-{index}"));
    let pool = pool.build();
    let threads =
        pool.map_err(|error| errors::output(format!("cannot start threads: {error}: choose fewer with `threads`")))?;
    Ok(Pool { threads, busy: 0, waiting: VecDeque::new() })
}

thread_local! {
    /// What a thread that forks holds meanwhile, so that the child finds the state as it should be.
    static HELD: RefCell<Option<MutexGuard<'static, State>>> = const { RefCell::new(None) };
}

/// Has Python call us before and after it forks.
pub(crate) fn watch_forks(module: &Bound<'_, PyModule>) -> PyResult<()> {
    static WATCHING: AtomicBool = AtomicBool::new(false);
    let py = module.py();
    // Windows cannot fork.
    let Some(register) = py.import("os")?.getattr_opt("register_at_fork")? else { return Ok(()) };
    if WATCHING.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let hooks = PyDict::new(py);
    hooks.set_item("before", wrap_pyfunction!(before_fork, module)?)?;
    hooks.set_item("after_in_parent", wrap_pyfunction!(after_fork, module)?)?;
    hooks.set_item("after_in_child", wrap_pyfunction!(after_fork_in_child, module)?)?;
    register.call((), Some(&hooks)).map(drop)
}

/// Waits until no job runs or waits, and keeps others from starting one.
#[pyfunction]
fn before_fork(py: Python<'_>) {
    py.detach(|| {
        let mut state = lock();
        state.forks += 1;
        let state = CHANGED.wait_while(state, |state| state.running > 0).unwrap_or_else(PoisonError::into_inner);
        HELD.set(Some(state));
    });
}

#[pyfunction]
fn after_fork() {
    if let Some(mut state) = HELD.take() {
        state.forks -= 1;
        CHANGED.notify_all();
    }
}

/// Forgets the parent's pools: their threads are not here, and their destructors would wait for them.
#[pyfunction]
fn after_fork_in_child() {
    // A server in C that forks by itself calls this hook alone.
    let state = HELD.take().or_else(|| STATE.try_lock().ok());
    if let Some(mut state) = state {
        mem::forget(mem::take(&mut state.pools));
        (state.running, state.forks) = (0, 0);
    }
}
