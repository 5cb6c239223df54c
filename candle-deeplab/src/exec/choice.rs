//! The choice of an executor, an instruction set and a precision, as far as the machine has them.

use std::fmt;

use crate::error::Error;

/// Which executor a model uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Executor {
    /// The fused executor where there is a fast one for the device (today: a CPU with AVX2 or AVX-512) and the weights
    /// are constant. Otherwise, and for inputs that need a gradient, the eager executor.
    #[default]
    Auto,
    /// The eager executor, which runs candle's operations node by node.
    Eager,
    /// The fused CPU executor with these instructions.
    Cpu(Isa),
    /// The fused executor on a GPU, with numbers of its own choice: [`Precision`] is for the CPU. It needs the feature
    /// `cuda`, and weights that are constant. It has not yet run on a GPU, so [`Auto`](Self::Auto) never chooses it.
    CudaFused(GpuPrecision),
}

/// The precision of the numbers that matmuls multiply. Their sums are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// IEEE single precision, 32 bits.
    #[default]
    F32,
    /// bfloat16: 16 bits, with the range of f32 and 8 bits of mantissa. Values are rounded to nearest, ties to even.
    Bf16,
}

/// The numbers that the fused executor on a GPU stores and multiplies. Their sums are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum GpuPrecision {
    /// IEEE single precision.
    F32,
    /// Stored as f32. Matmuls round to TF32, with 11 bits of mantissa: tensor cores from Ampere on.
    Tf32,
    /// IEEE half precision: 11 bits of mantissa, and nothing above 65504.
    F16,
    /// bfloat16: the range of f32, and 8 bits of mantissa. Tensor cores from Ampere on.
    #[default]
    Bf16,
}

/// A set of vector instructions that the fused CPU executor has kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// AVX-512 (its foundation, F): 16 lanes.
    Avx512,
    /// AVX2 with FMA: 8 lanes.
    Avx2,
    /// Plain Rust, with whatever instructions the compiler uses.
    Portable,
}

/// Why an executor cannot run a model here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The CPU lacks an instruction set.
    #[error("this CPU has no {0}")]
    Instructions(Isa),
    /// The CPU has no instructions that make a precision fast.
    #[error("this CPU lacks the instructions for {0}, {fast}", fast = .0.instructions())]
    Precision(Precision),
    /// There are no kernels for a precision with these instructions.
    #[error("there is no {1} with {0}")]
    Kernels(Isa, Precision),
    /// The eager executor computes only in f32.
    #[error("candle's operations compute in f32 here, not in {0}")]
    Eager(Precision),
    /// The program was built without CUDA.
    #[error("this program was built without CUDA")]
    Built,
    /// A precision of the CPU's executors for one that has its own.
    #[error("the fused executor on a GPU does not take its precision, {0}, from the CPU's")]
    GpuPrecision(Precision),
    /// The fused executor runs on a CUDA device.
    #[error("the fused executor on a GPU takes constant weights on a CUDA device")]
    GpuWeights,
    /// The fused executor copies the weights, so they must not change or need gradients.
    #[error("the fused CPU executor takes constant f32 weights on the CPU")]
    Weights,
}

impl Executor {
    /// The fused CPU executor with the fastest instructions that this machine has for a precision. For f32, these may
    /// be plain Rust, which is slower than the eager executor.
    ///
    /// # Errors
    /// [`Unavailable::Precision`] where this machine lacks the instructions.
    pub fn fastest_cpu(precision: Precision) -> Result<Self, Unavailable> {
        match precision {
            Precision::F32 => Ok(Self::Cpu(Isa::detect())),
            _ => Isa::detect_for(precision).map(Self::Cpu),
        }
    }

    /// Resolves the choice on this machine, for a model that the fused executor can run: returns the instructions of
    /// the fused CPU executor, or `None` for another one.
    ///
    /// # Errors
    /// [`Unavailable`] where the machine lacks the instructions, or the executor does not support the precision.
    pub fn resolve(self, precision: Precision) -> Result<Option<Isa>, Unavailable> {
        match (self, precision) {
            (Self::CudaFused(_), _) if !cfg!(feature = "cuda") => Err(Unavailable::Built),
            (Self::CudaFused(_), Precision::F32) => Ok(None),
            (Self::CudaFused(_), _) => Err(Unavailable::GpuPrecision(precision)),
            // Plain Rust is never chosen: it is slower than candle's matmul.
            (Self::Auto, Precision::F32) => Ok(Isa::detect_for(precision).ok()),
            (Self::Auto, _) => Isa::detect_for(precision).map(Some),
            (Self::Cpu(isa), _) => isa.require(precision).map(|()| Some(isa)),
            (Self::Eager, Precision::F32) => Ok(None),
            (Self::Eager, _) => Err(Unavailable::Eager(precision)),
        }
    }
}

impl Precision {
    /// Instruction sets that make this precision fast.
    fn instructions(self) -> &'static str {
        match self {
            Self::F32 => "AVX2 or AVX-512",
            Self::Bf16 => "AVX512_BF16",
        }
    }
}

impl Isa {
    /// The instruction sets that this machine has, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Avx512, Self::Avx2, Self::Portable].into_iter().filter(|isa| isa.is_available())
    }

    /// The fastest instruction set that this machine has.
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Self::Portable)
    }

    /// The fastest instruction set of this machine that makes a precision fast, which plain Rust never does.
    ///
    /// # Errors
    /// [`Unavailable::Precision`] where there is none.
    pub fn detect_for(precision: Precision) -> Result<Self, Unavailable> {
        let fast = Self::available().find(|isa| *isa != Self::Portable && isa.supports(precision));
        fast.ok_or(Unavailable::Precision(precision))
    }

    /// Whether this machine has the instruction set.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// Whether this machine has the instruction set, with instructions for a precision. Plain Rust computes at any
    /// precision, slowly but by the same rules.
    pub fn supports(self, precision: Precision) -> bool {
        self.is_available()
            && match (precision, self) {
                (Precision::F32, _) | (Precision::Bf16, Self::Portable) => true,
                #[cfg(target_arch = "x86_64")]
                (Precision::Bf16, Self::Avx512) => is_x86_feature_detected!("avx512bf16"),
                (Precision::Bf16, _) => false,
            }
    }

    /// Returns an error if this machine does not [support](Self::supports) the instruction set at a precision.
    pub(crate) fn require(self, precision: Precision) -> Result<(), Unavailable> {
        match self {
            _ if self.supports(precision) => Ok(()),
            _ if !self.is_available() => Err(Unavailable::Instructions(self)),
            Self::Avx512 => Err(Unavailable::Precision(precision)),
            _ => Err(Unavailable::Kernels(self, precision)),
        }
    }
}

impl Unavailable {
    /// What to choose instead.
    fn way_out(self) -> &'static str {
        match self {
            Self::Instructions(_) => "choose `Executor::Auto`, which takes what the machine has",
            Self::Precision(_) => "choose `Precision::F32`, or `Isa::Portable`, which computes the same slowly",
            Self::Kernels(..) => "choose `Precision::F32`, or `Executor::Auto`",
            Self::Eager(_) => "choose `Precision::F32`, or another executor than the eager one",
            Self::Built => "build it with `--features cuda`, or choose `Executor::Auto`",
            Self::GpuPrecision(_) => "choose `Precision::F32`, and the GPU's own in `Executor::CudaFused`",
            Self::GpuWeights => "load the model onto `Device::new_cuda(0)`, or choose `Executor::Auto`",
            Self::Weights => "choose `Executor::Auto` and `Precision::F32`",
        }
    }
}

impl From<Unavailable> for Error {
    fn from(reason: Unavailable) -> Self {
        Self::Executor(format!("{reason}: {}", reason.way_out()))
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

impl fmt::Display for GpuPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_executor_comes_to_what_the_machine_has() {
        for isa in [Isa::Avx512, Isa::Avx2, Isa::Portable] {
            for precision in [Precision::F32, Precision::Bf16] {
                let resolved = Executor::Cpu(isa).resolve(precision);
                assert_eq!(resolved.is_ok(), isa.supports(precision), "{isa}, {precision}");
                assert!(resolved.is_err() || resolved == Ok(Some(isa)));
            }
        }
        assert_eq!(Executor::Eager.resolve(Precision::F32), Ok(None));
        assert_eq!(Executor::Eager.resolve(Precision::Bf16), Err(Unavailable::Eager(Precision::Bf16)));
        assert_eq!(Executor::CudaFused(GpuPrecision::F16).resolve(Precision::F32).is_ok(), cfg!(feature = "cuda"));
        assert!(Executor::CudaFused(GpuPrecision::Bf16).resolve(Precision::Bf16).is_err());
        // Plain Rust is used only on request.
        assert_ne!(Executor::Auto.resolve(Precision::F32), Ok(Some(Isa::Portable)));
        assert_eq!(Executor::Auto.resolve(Precision::Bf16), Isa::detect_for(Precision::Bf16).map(Some));
        assert_eq!(Executor::fastest_cpu(Precision::F32), Ok(Executor::Cpu(Isa::detect())));
    }

    #[test]
    fn a_reason_says_what_is_missing_and_an_error_the_way_out() {
        let reason = Unavailable::Precision(Precision::Bf16);
        assert_eq!(reason.to_string(), "this CPU lacks the instructions for bf16, AVX512_BF16");
        let error = Error::from(Unavailable::Kernels(Isa::Avx2, Precision::Bf16)).to_string();
        assert_eq!(error, "there is no bf16 with avx2: choose `Precision::F32`, or `Executor::Auto`");
    }
}
