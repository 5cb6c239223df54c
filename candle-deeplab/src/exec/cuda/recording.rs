//! A call's work as a CUDA graph, which a GPU starts at once: a network of 160 launches is then one.

use std::sync::Arc;

use candle_core::cuda::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use candle_core::cuda::cudarc::driver::{CudaGraph, CudaStream};
use candle_core::{Error, Result};

use super::kernels::cuda_error;

/// Recorded work.
pub(super) struct Recording(CudaGraph);

// SAFETY: a graph may be used by any thread, as long as only one does at a time, and it is not `Sync`.
unsafe impl Send for Recording {}

impl Recording {
    /// Records what `work` puts on a stream, without doing it. It must not allocate, or copy from or to the host.
    ///
    /// # Errors
    /// Those of `work`, and where the stream cannot record.
    pub(super) fn of(stream: &Arc<CudaStream>, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        // Other threads may go on allocating meanwhile.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream.begin_capture(mode).map_err(cuda_error)?;
        let done = work();
        // Ends the recording in any case: the stream would not work otherwise.
        let graph = stream.end_capture(CUgraphInstantiate_flags(0));
        done?;
        let graph = graph.map_err(cuda_error)?;
        graph.map(Self).ok_or_else(|| Error::Msg("the stream has recorded nothing".into()))
    }

    /// Does the work again, on the stream on which it was recorded.
    ///
    /// # Safety
    /// All addresses in the work are valid.
    ///
    /// # Errors
    /// Where the driver refuses.
    pub(super) unsafe fn play(&self) -> Result<()> {
        self.0.launch().map_err(cuda_error)
    }
}
