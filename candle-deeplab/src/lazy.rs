//! What is made when it is first needed.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// What is made when it is first needed, once for all clones. Whoever needs it meanwhile waits, so what makes it must not
/// need them: parallel work belongs [apart].
#[derive(Debug)]
pub(crate) struct Lazy<T>(Arc<Mutex<Option<Arc<T>>>>);

impl<T> Lazy<T> {
    pub(crate) fn get_or_try(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*place {
            return Ok(made.clone());
        }
        let made = Arc::new(make()?);
        *place = Some(made.clone());
        Ok(made)
    }
}

impl<T> Clone for Lazy<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Lazy<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Does parallel work in a rayon pool of its own, with as many threads as the current one.
///
/// In the current pool a worker that waits for its share takes up other jobs meanwhile, and so may those that do the share.
/// Where what is waited for is made under a lock, such a job could want that lock, and nobody would ever go on. The threads
/// of this pool have nothing else to do; and the caller waits for a thread, not for a job, so it takes up none either.
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

    use super::*;

    /// One job makes it, in two halves. While the thread of one half waits for the other, a second job comes that wants it,
    /// and every other thread of the pool is busy: in the same pool, the one that waits would take that job up.
    #[test]
    fn a_job_that_wants_what_another_one_makes_does_not_stop_it() {
        let until = |flag: &AtomicBool| {
            while !flag.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        };
        let (lazy, makers, shared, wanted) =
            (Lazy::default(), AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
        let get = || {
            let made = lazy.get_or_try(|| {
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

    #[test]
    fn what_failed_is_tried_again() {
        let lazy = Lazy::default();
        assert!(lazy.get_or_try(|| Err::<u8, _>(Error::NoHead)).is_err());
        let clone = lazy.clone();
        assert_eq!(*lazy.get_or_try(|| Ok(7)).unwrap(), 7);
        assert_eq!(*clone.get_or_try(|| Ok(8)).unwrap(), 7);
    }
}
