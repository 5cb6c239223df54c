//! Programs that we start. None of them outlives us, where the system tells us that we end.

use std::io;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

type Shared = Arc<Mutex<Child>>;

static RUNNING: Mutex<Vec<Shared>> = Mutex::new(Vec::new());

/// A program at work. It is ended when this goes, and by [`end_all`].
pub(crate) struct Program(Shared);

/// Held so that no program is started any more.
pub(crate) struct NoMore(#[allow(dead_code)] MutexGuard<'static, Vec<Shared>>);

/// Ends all programs. None is started as long as the result is there.
pub(crate) fn end_all() -> NoMore {
    let running = lock(&RUNNING);
    running.iter().for_each(end);
    NoMore(running)
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut running = lock(&RUNNING);
        let child = Arc::new(Mutex::new(command.spawn()?));
        running.push(child.clone());
        Ok(Self(child))
    }

    pub(crate) fn stdin(&self) -> Option<ChildStdin> {
        lock(&self.0).stdin.take()
    }

    pub(crate) fn stdout(&self) -> Option<ChildStdout> {
        lock(&self.0).stdout.take()
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) -> io::Result<ExitStatus> {
        /// Whoever waits for it has read all that it said, so that it ends soon.
        const NAPS: [u64; 5] = [0, 1, 2, 5, 10];
        let mut naps = NAPS.into_iter();
        loop {
            // The lock is not held meanwhile: it could not be ended then.
            let ended = lock(&self.0).try_wait()?;
            if let Some(status) = ended {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(naps.next().unwrap_or(10)));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        end(&self.0);
        lock(&RUNNING).retain(|other| !Arc::ptr_eq(other, &self.0));
    }
}

fn end(child: &Shared) {
    let mut child = lock(child);
    // Where it has ended already neither does anything.
    let _ = child.kill();
    let _ = child.wait();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
