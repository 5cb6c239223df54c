//! Parallel work under a lock, in a thread pool of its own.

use std::io;
use std::panic::resume_unwind;

use crate::error::{Error, Result};

/// Does parallel work in a rayon pool of its own, with as many threads as the current one has.
///
/// In the current pool, a worker that waits for other workers runs further jobs meanwhile. If the work is done under a
/// lock, such a job may wait for that lock, which would be a deadlock. The threads of the new pool have no other jobs;
/// and the caller waits for a thread, not for a job, so it runs no other jobs either.
///
/// # Errors
/// [`Error::Executor`] where the threads cannot be started; those of the work.
pub(crate) fn apart<R: Send>(work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    let threads = rayon::current_num_threads();
    let refused =
        |reason: String| Error::Executor(format!("cannot start {threads} threads to load the model: {reason}"));
    std::thread::scope(|scope| {
        let run = || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.map_err(|error| refused(error.to_string()))?.install(work)
        };
        let started = std::thread::Builder::new().spawn_scoped(scope, run);
        let thread = started.map_err(|error: io::Error| refused(error.to_string()))?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use once_cell::sync::OnceCell;

    use super::*;

    /// One job computes a value in two halves. While the thread of one half waits for the other, a second job comes
    /// that needs the value, and every other thread of the pool is busy: in a shared pool, the waiting thread would run
    /// that job.
    #[test]
    fn a_job_that_wants_what_another_one_makes_does_not_stop_it() {
        let until = |flag: &AtomicBool| {
            while !flag.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        };
        let (cell, makers, shared, wanted) =
            (OnceCell::new(), AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
        let get = || {
            let made = cell.get_or_try_init(|| {
                makers.fetch_add(1, Ordering::SeqCst);
                let second = || {
                    shared.store(true, Ordering::SeqCst);
                    until(&wanted);
                };
                apart(|| Ok(rayon::join(|| until(&shared), second)))
            });
            made.unwrap();
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        pool.scope(|scope| {
            scope.spawn(|_| get());
            until(&shared);
            scope.spawn(|_| {
                wanted.store(true, Ordering::SeqCst);
                get();
            });
            until(&wanted);
        });
        assert_eq!(makers.into_inner(), 1);
    }

    #[test]
    fn work_apart_has_the_threads_of_the_pool_it_comes_from() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(|| apart(|| Ok(rayon::current_num_threads()))).unwrap(), 3);
        assert!(matches!(apart(|| Err::<(), _>(Error::NoHead)), Err(Error::NoHead)));
    }
}
