//! From arguments to what a command works with. Whatever can be wrong is found here, before any time is spent.

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::Device;
use candle_deeplab::exec::Isa;
use candle_deeplab::zoo::hub::Settings;
use candle_deeplab::zoo::{BUNDLED, Resolved, Zoo};
use candle_deeplab::{DeepLab, Executor, Precision};
use weights_convert::WeightsConvert;

use crate::args::{DtypeName, ExecutorName, ModelArgs, ZooArgs};
use crate::transfer;

/// The zoo, which converts what is foreign.
pub(crate) fn zoo(args: &ZooArgs, show_progress: bool) -> Result<Zoo<'static>> {
    let settings = Settings::from_env()?;
    let progress = transfer::progress(show_progress && !settings.no_progress);
    let zoo = Zoo::new(settings)?.with_importer(&WeightsConvert).with_progress(progress);
    Ok(match &args.namespace {
        Some(namespace) => zoo.with_namespace(namespace),
        None => zoo,
    })
}

/// The model that was asked for, which is fetched and converted if it is not there yet.
pub(crate) fn model(args: &ModelArgs, show_progress: bool) -> Result<Resolved> {
    let found = zoo(&args.zoo, show_progress)?.resolve(args.name());
    found.map_err(|error| {
        let unreachable = matches!(&error, candle_deeplab::Error::Zoo(error) if error.is_remote());
        match unreachable {
            true => anyhow!(error).context(format!(
                "cannot fetch the model `{}`: `--model {BUNDLED}` works without a network",
                args.name()
            )),
            false => error.into(),
        }
    })
}

/// Loads a model onto a device.
pub(crate) fn load(found: &Resolved, device: &Device) -> Result<DeepLab> {
    found.files.load(device).with_context(|| format!("cannot load the model in `{}`", found.files))
}

/// Starts as many threads as were asked for.
pub(crate) fn threads(wanted: Option<usize>) -> Result<()> {
    let Some(threads) = wanted else { return Ok(()) };
    let started = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    started.with_context(|| format!("cannot start {threads} threads: choose fewer with `--threads`"))
}

/// A precision that there are kernels for.
fn precision(name: DtypeName) -> Result<Precision> {
    match name {
        DtypeName::F32 => Ok(Precision::F32),
        DtypeName::Bf16 => Ok(Precision::Bf16),
        DtypeName::F16 => bail!("nothing in this program computes in f16 yet: leave `--dtype` out, for f32"),
    }
}

/// The same, where a device is fast with it.
pub(crate) fn fast_precision(name: DtypeName, device: &Device) -> Result<Precision> {
    let precision = precision(name)?;
    if precision != Precision::F32 {
        ensure!(device.is_cpu(), "only the CPU computes in {precision} yet: leave `--dtype` or `--device` out");
        ensure!(Isa::detect_for(precision).is_ok(), "{NO_BF16}: leave `--dtype` out, for f32");
    }
    Ok(precision)
}

/// What a machine lacks that is not fast with bf16.
pub(crate) const NO_BF16: &str = "this CPU lacks the instructions for bf16, AVX512_BF16";

/// An executor, and a precision that it computes in on this machine.
pub(crate) fn executor(name: ExecutorName, dtype: DtypeName) -> Result<(Executor, Precision)> {
    let precision = precision(dtype)?;
    let fastest = || match precision {
        Precision::F32 => Ok(Isa::detect()),
        _ => Isa::detect_for(precision).map_err(|_| {
            anyhow!("{NO_BF16}: choose `--dtype f32`, or `--executor portable`, which computes the same slowly")
        }),
    };
    let executor = match name {
        ExecutorName::Auto => fastest().map(|_| Executor::Auto)?,
        ExecutorName::Cpu => Executor::Cpu(fastest()?),
        ExecutorName::Avx512 => Executor::Cpu(Isa::Avx512),
        ExecutorName::Avx2 => Executor::Cpu(Isa::Avx2),
        ExecutorName::Portable => Executor::Cpu(Isa::Portable),
        ExecutorName::Eager => Executor::Eager,
    };
    match executor {
        Executor::Cpu(isa) if !isa.is_available() => {
            bail!("this CPU has no {isa}: leave `--executor` out, for the fastest instructions that it has")
        }
        Executor::Cpu(isa) if !isa.supports(precision) && name == ExecutorName::Avx512 => {
            bail!("{NO_BF16}: choose `--dtype f32`, or `--executor portable`, which computes the same slowly")
        }
        Executor::Cpu(isa) if !isa.supports(precision) => {
            bail!("there is no {precision} with {isa}: choose `--dtype f32`, or leave `--executor` out")
        }
        Executor::Eager if precision != Precision::F32 => {
            bail!("candle's operations compute in f32 here: choose `--dtype f32`, or leave `--executor` out")
        }
        executor => Ok((executor, precision)),
    }
}
