//! A plan at the device's addresses, with its kernels loaded and its matmuls described.

use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda::cudarc::driver::result::memset_d8_async;
use candle_core::cuda::cudarc::driver::{CudaFunction, CudaSlice, CudaStream, DevicePtr};

use super::gemm::{Blas, Matmul};
use super::kernels::{Launch, Module, cuda_error};
use super::plan::{Bases, Plan, Request};
use super::recording::Recording;
use super::work::Work;

/// The variable that says, if it is set, that work is never recorded, for tools that cannot see into a graph.
const NO_GRAPHS: &str = "CANDLE_DEEPLAB_NO_CUDA_GRAPHS";

/// A plan that is ready to run.
pub(super) struct Ready {
    pub(super) request: Request,
    pub(super) plan: Plan,
    pub(super) bases: Bases,
    works: Vec<Task>,
    /// The plan's constants, if it has any.
    _tables: Option<CudaSlice<u8>>,
    replay: Replay,
}

enum Task {
    Kernel(Launch, CudaFunction),
    Matmul(Box<Matmul>),
    Clear { at: u64, bytes: usize },
}

enum Replay {
    /// It has not run yet. The first run loads what drivers load late, which cannot be recorded.
    Never,
    /// It has run, and will be recorded next.
    Due,
    Recorded(Recording),
    /// The stream cannot record, or must not.
    Off,
}

impl Ready {
    /// Loads the kernels of a plan, describes its matmuls, and uploads its constants.
    ///
    /// # Errors
    /// Where the driver or cuBLASLt fails.
    pub(super) fn new(
        request: Request,
        plan: Plan,
        [arena, weights]: [u64; 2],
        (module, blas): (&Module, &Blas),
        stream: &Arc<CudaStream>,
    ) -> Result<Self> {
        let tables = match plan.tables.is_empty() {
            true => None,
            false => Some(stream.clone_htod(&plan.tables[..]).map_err(cuda_error)?),
        };
        let tables_at = tables.as_ref().map_or(0, |tables| tables.device_ptr(stream).0);
        let bases = Bases { arena, weights, tables: tables_at };
        let task = |work: Work| -> Result<Task> {
            match work {
                Work::Kernel(launch) => {
                    let function = module.function(&launch.kernel)?;
                    Ok(Task::Kernel(launch, function))
                }
                Work::Gemm(gemm) => Ok(Task::Matmul(Box::new(blas.prepare(gemm)?))),
                Work::Clear { at, bytes } => Ok(Task::Clear { at: at.0, bytes }),
            }
        };
        let works = plan.works_at(bases).into_iter().map(task).collect::<Result<_>>()?;
        let replay = if std::env::var_os(NO_GRAPHS).is_some() { Replay::Off } else { Replay::Never };
        Ok(Self { request, plan, bases, works, _tables: tables, replay })
    }

    /// Does all work on a stream.
    ///
    /// # Safety
    /// The arena and the weights, at whose addresses the plan was made ready, are as large as the plan and the program
    /// say, and nothing else uses the arena.
    ///
    /// # Errors
    /// Where the driver or cuBLASLt fails.
    pub(super) unsafe fn run(&mut self, blas: &Blas, stream: &Arc<CudaStream>) -> Result<()> {
        if matches!(self.replay, Replay::Due) {
            // SAFETY: the caller's promise; while it is recorded, nothing runs.
            let recording = Recording::of(stream, || unsafe { self.each(blas, stream) });
            self.replay = recording.map_or(Replay::Off, Replay::Recorded);
        }
        // SAFETY: the caller's promise.
        unsafe {
            match &self.replay {
                Replay::Recorded(recording) => recording.play(),
                _ => self.each(blas, stream),
            }?;
        }
        if matches!(self.replay, Replay::Never) {
            self.replay = Replay::Due;
        }
        Ok(())
    }

    /// Puts one work after the other on a stream.
    ///
    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn each(&self, blas: &Blas, stream: &Arc<CudaStream>) -> Result<()> {
        for task in &self.works {
            // SAFETY: a plan's launches have the arguments of their kernels, at addresses within the arena, the weights
            // and the tables.
            unsafe {
                match task {
                    Task::Kernel(launch, function) => launch.run(function, stream)?,
                    Task::Matmul(matmul) => blas.run(matmul, stream)?,
                    Task::Clear { at, bytes } => {
                        memset_d8_async(*at, 0, *bytes, stream.cu_stream()).map_err(cuda_error)?;
                    }
                }
            }
        }
        Ok(())
    }
}
