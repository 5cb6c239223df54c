//! From arguments to what a command works with. Whatever can be wrong is found here, before any time is spent.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use candle_deeplab::Precision;
use candle_deeplab::exec::Isa;
use candle_deeplab::zoo::Zoo;
use candle_deeplab::zoo::hub::Settings;
use weights_convert::WeightsConvert;

use crate::args::{DeviceName, DtypeName, ModelArgs, ZooArgs};
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

/// The directory of the model that was asked for, which is fetched and converted if it is not there yet.
pub(crate) fn model(args: &ModelArgs, show_progress: bool) -> Result<PathBuf> {
    Ok(zoo(&args.zoo, show_progress)?.resolve(&args.model)?.dir)
}

/// A precision that there are kernels for.
pub(crate) fn precision(name: DtypeName) -> Result<Precision> {
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
        Isa::detect_for(precision).context("leave `--dtype` out, for f32")?;
    }
    Ok(precision)
}

/// A device that this program was built for.
pub(crate) fn device(name: DeviceName) -> Result<Device> {
    let built_with = |available: bool, feature: &str| {
        ensure!(
            available,
            "this program was built without {feature}: run `cargo run --release --features {feature} -- …`, \
             or leave `--device` out"
        );
        Ok(())
    };
    match name {
        DeviceName::Cpu => Ok(Device::Cpu),
        DeviceName::Cuda(ordinal) => {
            built_with(candle_core::utils::cuda_is_available(), "cuda")?;
            Device::new_cuda(ordinal).with_context(|| format!("cannot use `{name}`: `nvidia-smi` lists the GPUs"))
        }
        DeviceName::Metal(ordinal) => {
            built_with(candle_core::utils::metal_is_available(), "metal")?;
            Device::new_metal(ordinal).with_context(|| format!("cannot use `{name}`"))
        }
    }
}
