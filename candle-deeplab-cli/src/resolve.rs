//! From arguments to what a command works with. Whatever can be wrong is found here, before any time is spent.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;

use crate::args::DeviceName;

/// A model directory.
pub(crate) fn weights(dir: Option<PathBuf>) -> Result<PathBuf> {
    let Some(dir) = dir else {
        bail!(
            "no weights: convert a checkpoint with \
             `cargo run --release -p weights-convert -- convert FILE --out DIR`, then pass `--weights DIR`"
        );
    };
    let shown = dir.display();
    if let Some(parent) =
        dir.parent().filter(|parent| dir.is_file() && parent.join(candle_deeplab::CONFIG_FILE).is_file())
    {
        bail!("`{shown}` is a file of a model directory: pass `--weights {}`", parent.join("").display());
    }
    if dir.is_file() {
        bail!(
            "`{shown}` is a file: convert it with `weights-convert convert {shown} --out DIR`, \
             then pass `--weights DIR`"
        );
    }
    ensure!(dir.is_dir(), "there is no directory `{shown}`");
    Ok(dir)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_must_be_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.pth");
        std::fs::write(&file, "").unwrap();
        assert_eq!(weights(Some(dir.path().into())).unwrap(), dir.path());
        assert!(weights(None).unwrap_err().to_string().starts_with("no weights: convert a checkpoint"));
        assert!(weights(Some(file)).unwrap_err().to_string().contains("weights-convert convert"));
        assert!(weights(Some("no/such".into())).unwrap_err().to_string().contains("no/such"));
    }
}
