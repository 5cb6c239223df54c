//! Compiles the kernels for a GPU, through candle's device.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda::cudarc::driver::CudaFunction;
use candle_core::cuda::cudarc::driver::sys::CUdevice_attribute;
use candle_core::cuda::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda::{CudaDevice, CudaError};
use candle_core::{Error, Result};

use super::source;

/// The name of the kernels' module on a device.
const MODULE: &str = "candle_deeplab";

/// The compiled kernels by architecture. Compiling takes seconds, and a process may have several models and devices.
static COMPILED: Mutex<BTreeMap<&str, Arc<str>>> = Mutex::new(BTreeMap::new());

/// The kernels on a device.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    device: CudaDevice,
    ptx: Arc<str>,
}

/// An error of CUDA as one of candle's.
pub(crate) fn cuda_error(error: impl Into<CudaError>) -> Error {
    Error::Cuda(Box::new(error.into()))
}

impl Module {
    /// Compiles the kernels for a device, unless that was done before.
    ///
    /// # Errors
    /// Where the compiler is missing or refuses, which names its complaint.
    pub(crate) fn new(device: &CudaDevice) -> Result<Self> {
        let major = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
        let major = device.cuda_stream().context().attribute(major).map_err(cuda_error)?;
        // Later architectures add nothing that the kernels use, and their drivers translate for them. So an older
        // compiler serves a newer GPU.
        let architecture = if major >= 8 { "compute_80" } else { "compute_75" };
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        let ptx = match compiled.get(architecture) {
            Some(ptx) => ptx.clone(),
            None => compiled.entry(architecture).or_insert(compile(architecture)?).clone(),
        };
        Ok(Self { device: device.clone(), ptx })
    }

    /// A kernel by its name.
    ///
    /// # Errors
    /// Where there is no such kernel, or the driver cannot load it.
    pub(crate) fn function(&self, kernel: &str) -> Result<CudaFunction> {
        Ok(self.device.get_or_load_custom_func(kernel, MODULE, &self.ptx)?.into_cuda_function())
    }
}

fn compile(architecture: &'static str) -> Result<Arc<str>> {
    let options = CompileOptions {
        arch: Some(architecture),
        options: vec!["--std=c++17".into()],
        name: Some(format!("{MODULE}.cu")),
        ..CompileOptions::default()
    };
    let ptx = compile_ptx_with_opts(source(), options).map_err(cuda_error)?;
    Ok(ptx.to_src().into())
}
