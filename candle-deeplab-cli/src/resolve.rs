//! Turns arguments into what commands work with, and reports what is wrong with them before any time is spent.

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::Device;
use candle_deeplab::exec::{Isa, Unavailable};
use candle_deeplab::segment::{Options, Tiles};
use candle_deeplab::{DeepLab, Executor, Precision};
use candle_deeplab_hub::hub::Settings;
use candle_deeplab_hub::{BUNDLED, Resolved, Zoo};

use crate::args::{DtypeName, ExecutorName, ModelArgs, NetworkArgs, ZooArgs};
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

/// The precision of a name, if it is implemented.
pub(crate) fn precision(name: DtypeName) -> Result<Precision> {
    match name {
        DtypeName::F32 => Ok(Precision::F32),
        DtypeName::Bf16 => Ok(Precision::Bf16),
        DtypeName::F16 => bail!("nothing in this program computes in f16 yet: leave `--dtype` out, for f32"),
    }
}

/// The same, but an error if the device is not fast with it.
pub(crate) fn fast_precision(name: DtypeName, device: &Device) -> Result<Precision> {
    let precision = precision(name)?;
    ensure!(
        precision == Precision::F32 || device.is_cpu(),
        "only the CPU computes in {precision} yet: leave `--dtype` or `--device` out"
    );
    match Executor::Auto.resolve(precision) {
        Ok(_) => Ok(precision),
        Err(reason) => bail!("{reason}: leave `--dtype` out, for f32"),
    }
}

/// The executor and precision, and the fused executor's instruction set on this machine (`None` for the eager one).
pub(crate) fn executor(name: ExecutorName, dtype: DtypeName) -> Result<(Executor, Precision, Option<Isa>)> {
    let precision = precision(dtype)?;
    let executor = match name {
        ExecutorName::Auto => Ok(Executor::Auto),
        ExecutorName::Cpu => Executor::fastest_cpu(precision),
        ExecutorName::Avx512 => Ok(Executor::Cpu(Isa::Avx512)),
        ExecutorName::Avx2 => Ok(Executor::Cpu(Isa::Avx2)),
        ExecutorName::Portable => Ok(Executor::Cpu(Isa::Portable)),
        ExecutorName::Eager => Ok(Executor::Eager),
    };
    let resolved = executor.and_then(|executor| Ok((executor, precision, executor.resolve(precision)?)));
    resolved.map_err(|reason| {
        let way_out = match reason {
            Unavailable::Instructions(_) => "leave `--executor` out, for the fastest instructions that it has",
            Unavailable::Precision(_) => {
                "choose `--dtype f32`, or `--executor portable`, which computes the same slowly"
            }
            _ => "choose `--dtype f32`, or leave `--executor` out",
        };
        anyhow!("{reason}: {way_out}")
    })
}
