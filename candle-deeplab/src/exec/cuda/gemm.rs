//! Matmuls by cuBLASLt. The descriptors and the algorithm of each are made once, for its shape and its addresses.

use std::ffi::c_void;
use std::sync::Arc;

use candle_core::cuda::cudarc::cublaslt::result::{self, CublasError};
use candle_core::cuda::cudarc::cublaslt::sys;
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use candle_core::{Error, Result};

use super::kernels::{Address, Number, cuda_error};
use super::work::Gemm;
use crate::exec::choice::GpuPrecision;

use sys::cublasLtMatmulDescAttributes_t as Attribute;
use sys::cublasLtMatmulPreferenceAttributes_t as Preference;

/// The memory that cuBLASLt may use, in bytes: what NVIDIA recommends for Hopper.
const WORKSPACE: usize = 32 << 20;

/// The largest alignment that makes a difference to cuBLASLt, as a power of two: 256 bytes.
const ALIGNMENT: u32 = 8;

/// A handle of cuBLASLt, and the memory that its kernels share. They run one after the other.
pub(super) struct Blas {
    handle: sys::cublasLtHandle_t,
    /// Its address is taken once: asking for it may wait for events, which cannot be recorded.
    workspace: u64,
    _workspace: CudaSlice<u8>,
    compute: sys::cublasComputeType_t,
}

// SAFETY: any number of threads may use a handle of cuBLASLt at once (NVIDIA's documentation, "Thread safety").
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

/// A matmul that is ready to run.
pub(super) struct Matmul {
    description: Description,
    weights: Layout,
    x: Layout,
    residual: Layout,
    y: Layout,
    algorithm: sys::cublasLtMatmulAlgo_t,
    of: Gemm,
}

// SAFETY: its descriptors are plain memory, which nothing but this struct refers to.
unsafe impl Send for Matmul {}

/// An error of cuBLASLt, with what it was about.
fn blas_error(of: &Gemm) -> impl Fn(CublasError) -> Error + use<> {
    let Gemm { outputs, inputs, pixels, .. } = *of;
    move |error| Error::Cuda(Box::new(error)).context(format!("a matmul of {pixels}×{inputs} by {inputs}×{outputs}"))
}

fn data_type(number: Number) -> sys::cudaDataType_t {
    match number {
        Number::F32 => sys::cudaDataType_t::CUDA_R_32F,
        Number::F16 => sys::cudaDataType_t::CUDA_R_16F,
        Number::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
    }
}

impl Blas {
    /// # Errors
    /// Where cuBLASLt or its memory cannot be had.
    pub(super) fn new(stream: &Arc<CudaStream>, precision: GpuPrecision) -> Result<Self> {
        // SAFETY: what is in the workspace before a matmul does not matter.
        let workspace = unsafe { stream.alloc::<u8>(WORKSPACE) }.map_err(cuda_error)?;
        let handle = result::create_handle().map_err(|error| Error::Cuda(Box::new(error)))?;
        let compute = match precision {
            GpuPrecision::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            GpuPrecision::F32 | GpuPrecision::F16 | GpuPrecision::Bf16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let address = workspace.device_ptr(stream).0;
        Ok(Self { handle, workspace: address, _workspace: workspace, compute })
    }

    /// Describes a matmul, and chooses the algorithm that cuBLASLt expects to be the fastest.
    ///
    /// cuBLASLt stores matrices column by column, so that a row of ours is a column of its: it computes
    /// `yᵀ ← weights · xᵀ`.
    ///
    /// # Errors
    /// Where cuBLASLt has no algorithm for it.
    pub(super) fn prepare(&self, of: Gemm) -> Result<Matmul> {
        let fail = blas_error(&of);
        let epilogue = match of.relu {
            true => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_RELU_BIAS,
            false => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
        };
        let description = Description::new(self.compute).map_err(&fail)?;
        let transposed: i32 = 1;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, transposed).map_err(&fail)?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue).map_err(&fail)?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, of.bias.0).map_err(&fail)?;

        let layout = |number, rows, columns, pitch| Layout::new(number, rows, columns, pitch).map_err(&fail);
        let weights = layout(of.number, of.inputs, of.outputs, of.pitches.weights)?;
        let x = layout(of.number, of.inputs, of.pixels, of.pitches.x)?;
        let y = layout(of.result, of.outputs, of.pixels, of.pitches.y)?;
        let residual_pitch = if of.residual.is_some() { of.pitches.residual } else { of.pitches.y };
        let residual = layout(of.result, of.outputs, of.pixels, residual_pitch)?;

        let limits = Limits::new().map_err(&fail)?;
        limits.set(Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE).map_err(&fail)?;
        let alignments = [
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, of.weights),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, of.x),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, of.residual.unwrap_or(of.y)),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, of.y),
        ];
        for (preference, Address(address)) in alignments {
            let alignment: u32 = 1 << address.trailing_zeros().min(ALIGNMENT);
            limits.set(preference, alignment).map_err(&fail)?;
        }
        // SAFETY: all descriptors are alive.
        let chosen = unsafe {
            result::get_matmul_algo_heuristic(self.handle, description.0, weights.0, x.0, residual.0, y.0, limits.0)
        };
        let algorithm = chosen.map_err(&fail)?.algo;
        Ok(Matmul { description, weights, x, residual, y, algorithm, of })
    }

    /// Runs a matmul on a stream.
    ///
    /// # Safety
    /// Its addresses are valid on the stream's device until it has run, and what lies there is as large as it says. No
    /// other matmul with this handle runs at the same time.
    ///
    /// # Errors
    /// Where cuBLASLt refuses.
    pub(super) unsafe fn run(&self, matmul: &Matmul, stream: &CudaStream) -> Result<()> {
        let Matmul { description, weights, x, residual, y, algorithm, of } = matmul;
        let (alpha, beta) = (1f32, if of.residual.is_some() { 1f32 } else { 0f32 });
        let read = |Address(address): Address| address as *const c_void;
        // SAFETY: the descriptors and the workspace are alive; the rest is the caller's promise.
        let done = unsafe {
            result::matmul(
                self.handle,
                description.0,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                read(of.weights),
                weights.0,
                read(of.x),
                x.0,
                read(of.residual.unwrap_or(of.y)),
                residual.0,
                of.y.0 as *mut c_void,
                y.0,
                algorithm,
                self.workspace as *mut c_void,
                WORKSPACE,
                stream.cu_stream().cast(),
            )
        };
        done.map_err(blas_error(of))
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: the handle is ours. Where it cannot be given back, nothing can be done about it.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// What a matmul computes.
struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new(compute: sys::cublasComputeType_t) -> std::result::Result<Self, CublasError> {
        result::create_matmul_desc(compute, sys::cudaDataType_t::CUDA_R_32F).map(Self)
    }

    /// Sets an attribute to a value of the type that it has.
    fn set<T>(&self, attribute: Attribute, value: T) -> std::result::Result<(), CublasError> {
        // SAFETY: the descriptor is alive, and the value is copied.
        unsafe { result::set_matmul_desc_attribute(self.0, attribute, (&raw const value).cast(), size_of::<T>()) }
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// How a matrix lies in memory, column by column.
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    fn new(number: Number, rows: usize, columns: usize, pitch: usize) -> std::result::Result<Self, CublasError> {
        result::create_matrix_layout(data_type(number), rows as u64, columns as u64, pitch as i64).map(Self)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

/// What an algorithm may assume and use.
struct Limits(sys::cublasLtMatmulPreference_t);

impl Limits {
    fn new() -> std::result::Result<Self, CublasError> {
        result::create_matmul_pref().map(Self)
    }

    /// Sets an attribute to a value of the type that it has.
    fn set<T>(&self, attribute: Preference, value: T) -> std::result::Result<(), CublasError> {
        // SAFETY: the descriptor is alive, and the value is copied.
        unsafe { result::set_matmul_pref_attribute(self.0, attribute, (&raw const value).cast(), size_of::<T>()) }
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}
