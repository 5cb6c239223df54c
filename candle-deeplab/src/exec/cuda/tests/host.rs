//! A stand-in for a GPU: the kernels as C++, compiled once by the system's compiler, and matmuls by candle.

use std::ffi::{OsString, c_void};
use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::sync::OnceLock;

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use libloading::{Library, Symbol};

use super::super::kernels::{Address, Grid, Launch, Number, source};
use super::super::work::{Gemm, Work};
use super::shared::skip;

/// The compiled kernels.
pub(super) struct Host(Library);

/// The kernels, or `None` where there is no compiler: then it has said that a test is skipped.
pub(super) fn host() -> Option<&'static Host> {
    static HOST: OnceLock<Option<Host>> = OnceLock::new();
    let host = HOST.get_or_init(compile);
    if host.is_none() {
        skip("there is no C++ compiler (`c++`, or another one that CXX names)");
    }
    host.as_ref()
}

fn compile() -> Option<Host> {
    let folder = tempfile::tempdir().unwrap();
    let (text, library) = (folder.path().join("kernels.cpp"), folder.path().join("kernels.so"));
    fs::write(&text, format!("{}\n{}", include_str!("host.h"), source())).unwrap();
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| OsString::from("c++"));
    let options = ["-std=c++17", "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-w"];
    let compiled = Command::new(compiler).args(options).arg(&text).arg("-o").arg(&library).output();
    let compiled = match compiled {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        compiled => compiled.unwrap(),
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    // SAFETY: loading it runs nothing but the initialisation of plain numbers.
    Some(Host(unsafe { Library::new(&library) }.unwrap()))
}

impl Host {
    /// Runs a kernel.
    ///
    /// # Safety
    /// The arguments are those of the kernel, and what lies at their addresses is as large as they say.
    pub(super) unsafe fn launch(&self, launch: &Launch) {
        type Kernel = unsafe extern "C" fn(*const c_void, *const u32);
        let Grid { blocks: [x, y, z], threads } = launch.grid;
        let geometry = [x, y, z, threads, 1, 1];
        // SAFETY: `host.h` makes such a function of every kernel, and the caller promises that the arguments are right.
        unsafe {
            let kernel: Symbol<Kernel> = self.0.get(launch.kernel.as_str()).unwrap();
            kernel(launch.args.as_ptr(), geometry.as_ptr());
        }
    }

    /// Does work in its order.
    ///
    /// # Safety
    /// What lies at the addresses is as large as the work says.
    pub(super) unsafe fn run(&self, works: &[Work]) {
        for work in works {
            // SAFETY: the caller's promise.
            unsafe {
                match work {
                    Work::Kernel(launch) => self.launch(launch),
                    Work::Gemm(of) => gemm(of),
                    Work::Clear { at, bytes } => std::ptr::write_bytes(at.0 as *mut u8, 0, *bytes),
                }
            }
        }
    }
}

/// A matmul as cuBLASLt computes it: sums in f32, rounded once.
///
/// # Safety
/// What lies at the addresses is as large as the matmul says.
unsafe fn gemm(of: &Gemm) {
    let Gemm { outputs, inputs, pixels, pitches, number, result, .. } = *of;
    // SAFETY: the caller's promise.
    let row = |address: Address, row: usize, pitch: usize, number: Number, len: usize| unsafe {
        let bytes = std::slice::from_raw_parts(address.0 as *const u8, (row * pitch + len) * number.size());
        numbers(number, &bytes[row * pitch * number.size()..])
    };
    let matrix = |address, rows: usize, pitch, len| {
        let values: Vec<f32> = (0..rows).flat_map(|at| row(address, at, pitch, number, len)).collect();
        Tensor::from_vec(values, (rows, len), &Device::Cpu).unwrap()
    };
    let x = matrix(of.x, pixels, pitches.x, inputs);
    let weights = matrix(of.weights, outputs, pitches.weights, inputs);
    let products = x.matmul(&weights.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
    let bias = row(of.bias, 0, 0, result, outputs);
    for (pixel, mut values) in products.into_iter().enumerate() {
        let residual = of.residual.map(|residual| row(residual, pixel, pitches.residual, result, outputs));
        for (output, value) in values.iter_mut().enumerate() {
            *value += bias[output] + residual.as_ref().map_or(0.0, |residual| residual[output]);
            *value = if of.relu && *value < 0.0 { 0.0 } else { *value };
        }
        let mut bytes = Vec::new();
        result.write(values, &mut bytes);
        // SAFETY: the caller's promise.
        unsafe {
            let to = (of.y.0 as *mut u8).add(pixel * pitches.y * result.size());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }
}

/// The numbers that bytes hold.
pub(super) fn numbers(number: Number, bytes: &[u8]) -> Vec<f32> {
    match number {
        Number::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect(),
        Number::F16 => bytes.as_chunks().0.iter().map(|bytes| f16::from_ne_bytes(*bytes).to_f32()).collect(),
        Number::Bf16 => bytes.as_chunks().0.iter().map(|bytes| bf16::from_ne_bytes(*bytes).to_f32()).collect(),
    }
}

/// Memory as the device aligns it. What has not been written is NaN, in any kind of number.
pub(super) struct Memory {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy)]
#[repr(C, align(256))]
struct Line([u8; 256]);

impl Memory {
    pub(super) fn new(len: usize) -> Self {
        Self { lines: vec![Line([0xff; 256]); len.div_ceil(256).max(1)], len }
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut memory = Self::new(bytes.len());
        memory.bytes_mut().copy_from_slice(bytes);
        memory
    }

    /// Memory with numbers in it.
    pub(super) fn of_numbers(number: Number, values: impl IntoIterator<Item = f32>) -> Self {
        let mut bytes = Vec::new();
        number.write(values, &mut bytes);
        Self::of(&bytes)
    }

    /// Where it begins. What is written there is seen by the next call of [`bytes`](Self::bytes).
    pub(super) fn address(&mut self) -> Address {
        Address(self.lines.as_mut_ptr() as u64)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: lines are bytes without gaps, and as many as `len` at least.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
