//! Waits for work in other threads, so that Ctrl-C interrupts.
//!
//! Python handles a signal only when its main thread asks for it. So the work runs elsewhere, and the caller waits for it
//! without the interpreter's lock, and asks now and then. If a signal's handler raises, the call returns at once; work that has
//! begun goes on to its end, and its result is dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;

use crate::errors;
use crate::pool::{self, Job};

/// How often signals are looked for. A result ends the waiting at once.
const STEP: Duration = Duration::from_millis(50);

/// Computes in the pool of `threads` threads; `what` names the work if it crashes.
///
/// # Errors
/// Those of the work, and what a signal's handler raises.
pub(crate) fn in_pool<R: Send + 'static>(
    py: Python<'_>,
    threads: usize,
    what: &'static str,
    work: impl FnOnce() -> PyResult<R> + Send + 'static,
) -> PyResult<R> {
    wait(py, what, work, move |job| pool::start(threads, job))
}

/// The same in a thread of its own, for work that waits for disks and networks more than it computes.
///
/// # Errors
/// As [`in_pool`].
pub(crate) fn in_thread<R: Send + 'static>(
    py: Python<'_>,
    what: &'static str,
    work: impl FnOnce() -> PyResult<R> + Send + 'static,
) -> PyResult<R> {
    wait(py, what, work, |job| {
        let started = thread::Builder::new().name("candle-deeplab".into()).spawn(job);
        started.map(drop).map_err(|error| errors::output(format!("cannot start a thread: {error}")))
    })
}

fn wait<R: Send + 'static>(
    py: Python<'_>,
    what: &'static str,
    work: impl FnOnce() -> PyResult<R> + Send + 'static,
    start: impl FnOnce(Job) -> PyResult<()> + Send,
) -> PyResult<R> {
    let (send, receive) = sync_channel(1);
    let caller = Arc::new(());
    let waits = Arc::downgrade(&caller);
    let job: Job = Box::new(move || {
        // Whoever was interrupted before it began does not want it any more.
        if waits.strong_count() == 0 {
            return;
        }
        // Whatever it was working on is dropped.
        let done = catch_unwind(AssertUnwindSafe(work));
        let done = done.unwrap_or_else(|panic| Err(errors::crashed(what, panic.as_ref())));
        // Nobody wants the result of work that was interrupted.
        let _ = send.send(done);
    });
    py.detach(move || {
        let _caller = caller;
        start(job)?;
        loop {
            match receive.recv_timeout(STEP) {
                Ok(done) => return done,
                // Without an interpreter there are no signals, either.
                Err(RecvTimeoutError::Timeout) => Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(()))?,
                Err(RecvTimeoutError::Disconnected) => return Err(errors::crashed(what, &"its thread has ended")),
            }
        }
    })
}
