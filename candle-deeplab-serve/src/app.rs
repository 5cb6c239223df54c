//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::models::Models;
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
        // Enough for two bodies of JSON at their limit.
        let bodies = (settings.max_bytes as u64).saturating_mul(8);
        Self(Arc::new(Shared {
            body_memory: Arc::new(Semaphore::new(permits(bodies))),
            image_memory: Arc::new(Semaphore::new(permits(settings.image_memory))),
            decoders: Arc::new(Semaphore::new(threads)),
            encoders: Arc::new(Semaphore::new(threads)),
            fetchers: Arc::new(Semaphore::new(FETCHERS)),
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
