//! Turns arguments into what commands work with, and reports what is wrong with them before any time is spent.

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::Device;
use candle_deeplab::exec::{GpuPrecision, Isa, Unavailable};
use candle_deeplab::segment::{Options, Tiles};
use candle_deeplab::{DeepLab, Executor, Precision};
use candle_deeplab_hub::hub::Settings;
use candle_deeplab_hub::{BUNDLED, Resolved, Zoo};

use crate::args::{DtypeName, ExecutorName, ModelArgs, NetworkArgs, ZooArgs};
use crate::device::{self, Chosen};
use crate::transfer;

/// The zoo, with the converter for other code bases' weights.
pub(crate) fn zoo(args: &ZooArgs, show_progress: bool) -> Result<Zoo> {
    let settings = Settings::from_env()?;
    let progress = transfer::progress(show_progress && !settings.no_progress);
    let zoo = Zoo::new(settings)?.with_progress(progress);
    Ok(match &args.namespace {
        Some(namespace) => zoo.with_namespace(namespace),
        None => zoo,
    })
}

/// The model that the arguments name. It is downloaded and converted if it is not on this machine.
pub(crate) fn model(args: &ModelArgs, show_progress: bool) -> Result<Resolved> {
    let found = zoo(&args.zoo, show_progress)?.resolve(args.name());
    found.map_err(|error| match error.is_remote() {
        true => anyhow!(error)
            .context(format!("cannot fetch the model `{}`: `--model {BUNDLED}` works without a network", args.name())),
        false => error.into(),
    })
}

/// Loads a model onto a device.
pub(crate) fn load(found: &Resolved, device: &Device) -> Result<DeepLab> {
    found.files.load(device).with_context(|| format!("cannot load the model in `{}`", found.files))
}

/// How the arguments want images to be segmented, without a memory limit.
pub(crate) fn options(args: &NetworkArgs, precision: Precision) -> Result<Options> {
    let tiles = args.tile.map(|(height, width)| Tiles::new(height, width, args.overlap)).transpose()?;
    Ok(Options {
        output_stride: args.output_stride,
        precision,
        scales: args.scales.clone(),
        flip: args.flip,
        tiles,
        memory_limit: None,
        overlap: args.overlap,
    })
}

/// Sets the number of threads that the user asked for.
pub(crate) fn threads(wanted: Option<usize>) -> Result<()> {
    let Some(threads) = wanted else { return Ok(()) };
    let started = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    started.with_context(|| format!("cannot start {threads} threads: choose fewer with `--threads`"))
}

/// The precision of a name, if the executor has it. The fused executor on a GPU has its own, beside which this is f32.
fn precision(executor: ExecutorName, dtype: DtypeName) -> Result<Precision> {
    match (executor, dtype) {
        (ExecutorName::CudaFused, _) | (_, DtypeName::F32) => Ok(Precision::F32),
        (_, DtypeName::Bf16) => Ok(Precision::Bf16),
        (_, DtypeName::Tf32 | DtypeName::F16) => bail!(
            "only the fused executor on a GPU computes in {}: leave `--dtype` out, for f32, or say `--executor cuda-fused`",
            gpu_precision(dtype)
        ),
    }
}

/// The precision of a name on a GPU.
fn gpu_precision(name: DtypeName) -> GpuPrecision {
    match name {
        DtypeName::F32 => GpuPrecision::F32,
        DtypeName::Tf32 => GpuPrecision::Tf32,
        DtypeName::F16 => GpuPrecision::F16,
        DtypeName::Bf16 => GpuPrecision::Bf16,
    }
}

/// Where the network runs that the arguments describe, and what runs it. An executor that is named may be slow on this machine.
/// `say` is that of [`device::choose`].
pub(crate) fn runner(args: &NetworkArgs, say: impl FnMut(&str)) -> Result<(Chosen, Executor, Precision)> {
    let precision = precision(args.executor, args.dtype)?;
    let chosen = device::choose(args.executor.device(args.device), precision, say)?;
    check_device(args.executor, &chosen.device)?;
    if args.executor == ExecutorName::Auto {
        check_fast(precision, &chosen.device)?;
        return Ok((chosen, Executor::Auto, precision));
    }
    let (executor, precision, _) = executor(args.executor, args.dtype)?;
    Ok((chosen, executor, precision))
}

/// Refuses an executor that is for another device.
pub(crate) fn check_device(name: ExecutorName, device: &Device) -> Result<()> {
    match name {
        ExecutorName::Auto | ExecutorName::Eager => {}
        ExecutorName::CudaFused => ensure!(
            device.is_cuda(),
            "`--executor cuda-fused` runs on a GPU: say `--device cuda`, or leave `--executor` out"
        ),
        ExecutorName::Cpu | ExecutorName::Avx512 | ExecutorName::Avx2 | ExecutorName::Portable => {
            ensure!(device.is_cpu(), "this executor runs on the CPU: leave `--executor` or `--device` out")
        }
    }
    Ok(())
}

/// Refuses a precision that the device is not fast with.
fn check_fast(precision: Precision, device: &Device) -> Result<()> {
    ensure!(
        precision == Precision::F32 || device.is_cpu(),
        "only the CPU computes in {precision} yet: leave `--dtype` or `--device` out"
    );
    match Executor::Auto.resolve(precision) {
        Ok(_) => Ok(()),
        Err(reason) => bail!("{reason}: leave `--dtype` out, for f32"),
    }
}

/// The executor and precision, and the fused executor's instruction set on this machine (`None` for the eager one).
pub(crate) fn executor(name: ExecutorName, dtype: DtypeName) -> Result<(Executor, Precision, Option<Isa>)> {
    let precision = precision(name, dtype)?;
    let executor = match name {
        ExecutorName::Auto => Ok(Executor::Auto),
        ExecutorName::Cpu => Executor::fastest_cpu(precision),
        ExecutorName::Avx512 => Ok(Executor::Cpu(Isa::Avx512)),
        ExecutorName::Avx2 => Ok(Executor::Cpu(Isa::Avx2)),
        ExecutorName::Portable => Ok(Executor::Cpu(Isa::Portable)),
        ExecutorName::Eager => Ok(Executor::Eager),
        ExecutorName::CudaFused => Ok(Executor::CudaFused(gpu_precision(dtype))),
    };
    let resolved = executor.and_then(|executor| Ok((executor, precision, executor.resolve(precision)?)));
    resolved.map_err(|reason| {
        let way_out = match reason {
            Unavailable::Instructions(_) => "leave `--executor` out, for the fastest instructions that it has",
            Unavailable::Precision(_) => {
                "choose `--dtype f32`, or `--executor portable`, which computes the same slowly"
            }
            Unavailable::Built => "run `cargo run --release --features cuda -- …`, or leave `--executor` out",
            _ => "choose `--dtype f32`, or leave `--executor` out",
        };
        anyhow!("{reason}: {way_out}")
    })
}
