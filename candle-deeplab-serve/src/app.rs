//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task;
use tokio::time::timeout_at;

use crate::models::Models;
use crate::problem::{Problem, Result};
use crate::settings::Settings;

/// What all requests share.
#[derive(Debug, Clone)]
pub(crate) struct App(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) models: Arc<Models>,
    /// KiB of bodies that are being read or used.
    pub(crate) body_memory: Arc<Semaphore>,
    /// KiB of images on their way.
    pub(crate) image_memory: Arc<Semaphore>,
    /// Images that may be decoded at a time, and answers that may be encoded. They are apart, since decoding waits for
    /// memory that encoding frees.
    pub(crate) decoders: Arc<Semaphore>,
    pub(crate) encoders: Arc<Semaphore>,
    /// Images that may be fetched at a time.
    pub(crate) fetchers: Arc<Semaphore>,
    /// A single permit: clients load and unload one model at a time.
    pub(crate) control: Arc<Semaphore>,
    is_draining: AtomicBool,
    refuses: AtomicBool,
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Images that may be fetched at a time.
const FETCHERS: usize = 8;

/// Bytes that a permit stands for.
pub(crate) const KIB: u64 = 1 << 10;

impl App {
    pub(crate) fn new(settings: Settings, models: Arc<Models>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let permits = |bytes: u64| usize::try_from((bytes / KIB).max(1)).unwrap_or(usize::MAX).min(u32::MAX as usize);
        Self(Arc::new(Shared {
            body_memory: Arc::new(Semaphore::new(permits(Settings::body_memory(settings.max_bytes)))),
            image_memory: Arc::new(Semaphore::new(permits(settings.image_memory))),
            decoders: Arc::new(Semaphore::new(threads)),
            encoders: Arc::new(Semaphore::new(threads)),
            fetchers: Arc::new(Semaphore::new(FETCHERS)),
            control: Arc::new(Semaphore::new(1)),
            is_draining: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            settings,
            models,
        }))
    }

    /// Says from now on, to those who ask, that the server is not ready. Requests that were sent before are still served.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
    }

    /// Lets no more requests begin.
    pub(crate) fn refuse(&self) {
        self.refuses.store(true, Ordering::SeqCst);
    }

    pub(crate) fn refuses(&self) -> bool {
        self.refuses.load(Ordering::SeqCst)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    /// When a request that comes now must have been answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.timeout
    }
}

/// Runs `work` in a thread that may take its time, when there is a permit for it.
pub(crate) async fn blocking<R: Send + 'static>(
    permits: &Arc<Semaphore>,
    deadline: Instant,
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    let permit = timeout_at(deadline.into(), permits.clone().acquire_owned()).await.map_err(|_| Problem::late())?;
    let done = task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    done.await.map_err(|error| Problem::internal(&error))?
}
