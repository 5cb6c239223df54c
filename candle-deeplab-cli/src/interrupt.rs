//! Makes sure that Ctrl-C leaves complete files only.
//!
//! A thread holds [`writing`] while it has an unfinished file, and the program ends only when nobody holds it. A video
//! takes too long for that: its file is registered with [`unfinished`], and is removed.

use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread;

use anyhow::{Context, Result};
use tokio::runtime::Builder;

use crate::program;
use crate::signals::Signals;

/// What shells call a program that Ctrl-C ended: 128 and the number of the signal.
const EXIT_CODE: i32 = 130;

static WRITING: RwLock<()> = RwLock::new(());
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Whether a recording is running, which Ctrl-C ends first, and whether it has been told to end.
static RECORDING: AtomicBool = AtomicBool::new(false);
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Listens for Ctrl-C and its like in a thread, and ends the program without a half-written file.
pub(crate) fn install() -> Result<()> {
    let listen = || {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let mut signals = {
            let _within = runtime.enter();
            Signals::listen()?
        };
        let listen = move || {
            loop {
                runtime.block_on(signals.next());
                interrupted();
            }
        };
        thread::Builder::new().name("signals".into()).spawn(listen)
    };
    listen().map(|_| ()).context("cannot listen for Ctrl-C")
}

/// Ends the recording if there is one, or else the program.
fn interrupted() {
    if RECORDING.load(Ordering::SeqCst) && !STOPPED.swap(true, Ordering::SeqCst) {
        return;
    }
    // Before files are removed, which they might write.
    let _no_more = program::end_all();
    let _nobody_writes = WRITING.write().unwrap_or_else(PoisonError::into_inner);
    for path in UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // If the file cannot be removed, nobody can be told.
        let _ = std::fs::remove_file(path);
    }
    process::exit(EXIT_CODE);
}

/// Returns a guard to hold while a file is being written.
pub(crate) fn writing() -> RwLockReadGuard<'static, ()> {
    WRITING.read().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is removed on drop and on Ctrl-C.
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf);

/// Registers a file that is useless until it is complete and renamed.
pub(crate) fn unfinished(path: PathBuf) -> Unfinished {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
    Unfinished(path)
}

impl Unfinished {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.0);
        // Fails if the file has been renamed, which is fine.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// While this exists, the first Ctrl-C only ends the recording (see [`stopped`]); the second ends the program.
#[derive(Debug)]
pub(crate) struct Recording(());

/// Starts a recording.
pub(crate) fn recording() -> Recording {
    RECORDING.store(true, Ordering::SeqCst);
    Recording(())
}

impl Drop for Recording {
    fn drop(&mut self) {
        RECORDING.store(false, Ordering::SeqCst);
        STOPPED.store(false, Ordering::SeqCst);
    }
}

/// Whether the recording should end.
pub(crate) fn stopped() -> bool {
    STOPPED.load(Ordering::SeqCst)
}
