//! Ctrl-C at any moment leaves whole files only.
//!
//! Whoever writes a file holds [`writing`] for as long as there is something unfinished beside it; the program ends
//! between such moments. A video takes too long for that: it is named in [`unfinished`], and removed.

use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use anyhow::{Context, Result};

use crate::program;

/// What shells call a program that Ctrl-C ended: 128 and the number of the signal.
const EXIT_CODE: i32 = 130;

static WRITING: RwLock<()> = RwLock::new(());
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Whether somebody wants to end in his own way, and whether he should.
static RECORDING: AtomicBool = AtomicBool::new(false);
static STOPPED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C (and a polite kill) ends the program with no half-written file. Where whoever started us has
/// decided about signals already, as `nohup` does, it stays so.
pub(crate) fn install() -> Result<()> {
    let handler = || {
        if RECORDING.load(Ordering::SeqCst) && !STOPPED.swap(true, Ordering::SeqCst) {
            return;
        }
        // Before files are removed, which they might write.
        let _no_more = program::end_all();
        let _nobody_writes = WRITING.write().unwrap_or_else(PoisonError::into_inner);
        for path in UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // There is nobody left to tell if it cannot be removed.
            let _ = std::fs::remove_file(path);
        }
        process::exit(EXIT_CODE);
    };
    match ctrlc::try_set_handler(handler) {
        Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        set => set.context("cannot listen for Ctrl-C"),
    }
}

/// Held while a file is being written.
pub(crate) fn writing() -> RwLockReadGuard<'static, ()> {
    WRITING.read().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is removed when this goes, and by Ctrl-C.
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf);

/// Names a file that is worth nothing until it is finished and has been renamed.
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
        // After it has been renamed there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// While this is there, the first Ctrl-C only ends a recording, which [`stopped`] then tells; the second ends the program.
#[derive(Debug)]
pub(crate) struct Recording(());

/// Begins a recording.
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
