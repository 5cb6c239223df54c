//! From arguments to what a command works with. Whatever can be wrong is found here, before any time is spent.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use candle_deeplab::Error;
use candle_deeplab::atomic;
use candle_deeplab::zoo::Zoo;
use candle_deeplab::zoo::hub::Settings;
use weights_convert::WeightsConvert;

use crate::args::{DeviceName, Format, ModelArgs, SegmentArgs, ZooArgs};
use crate::transfer;

/// A checked `segment` job.
pub(crate) struct Segment {
    pub(crate) image: PathBuf,
    pub(crate) weights: PathBuf,
    pub(crate) output: Target,
    pub(crate) format: Format,
    pub(crate) opacity: f32,
    pub(crate) device: Device,
    pub(crate) device_name: DeviceName,
    pub(crate) output_stride: Option<usize>,
}

impl Segment {
    pub(crate) fn resolve(args: SegmentArgs) -> Result<Self> {
        let path = args.output.unwrap_or_else(|| default_output(&args.image, args.format));
        let output = Target::resolve(path, &args.image, args.force)?;
        Ok(Self {
            output,
            device: device(args.device)?,
            image: args.image,
            // Last: it may have to be fetched.
            weights: model(&args.model, !args.quiet)?,
            format: args.format,
            opacity: args.opacity,
            device_name: args.device,
            output_stride: args.output_stride,
        })
    }
}

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
    let Some(name) = &args.model else {
        bail!(
            "no model: name one with `--model`, e.g. `--model deeplabv3plus-xception65-voc` \
             (`candle-deeplab models` lists them), or give a directory that `weights-convert` wrote"
        );
    };
    Ok(zoo(&args.zoo, show_progress)?.resolve(name)?.dir)
}

/// `photos/cat.jpg` → `cat.overlay.png`, in the current directory.
fn default_output(image: &Path, format: Format) -> PathBuf {
    let mut name = image.file_stem().unwrap_or(image.as_os_str()).to_owned();
    name.push(format!(".{}.png", format.name()));
    name.into()
}

/// A file to be written that replaces nothing unless it may.
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    replace: bool,
}

impl Target {
    fn resolve(path: PathBuf, image: &Path, force: bool) -> Result<Self> {
        let shown = path.display();
        let is_png = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        ensure!(is_png, "the output `{shown}` is written as PNG: give it a name that ends in `.png`");
        ensure!(!same_file(&path, image), "the output `{shown}` is the image itself: choose another with `-o`");
        ensure!(force || path.symlink_metadata().is_err(), already_there(&path));
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        ensure!(
            dir.is_none_or(Path::is_dir),
            "the output's directory `{}` does not exist",
            dir.unwrap_or(Path::new(".")).display()
        );
        Ok(Self { path, replace: force })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&self, content: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>) -> Result<()> {
        let written =
            if self.replace { atomic::write(&self.path, content) } else { atomic::write_new(&self.path, content) };
        match written {
            // It was not there when we began.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                bail!(already_there(&self.path))
            }
            written => written.context("cannot write the output"),
        }
    }
}

fn already_there(path: &Path) -> String {
    format!("`{}` exists: replace it with `--force`, or choose another output with `-o`", path.display())
}

/// Whether two paths lead to one file, through whatever links.
fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

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
    fn the_default_output_is_named_after_the_image_and_the_format() {
        for (image, expected) in [
            ("photos/cat.jpg", "cat.overlay.png"),
            ("/abs/no_extension", "no_extension.overlay.png"),
            ("a.b.webp", "a.b.overlay.png"),
        ] {
            assert_eq!(default_output(Path::new(image), Format::Overlay), Path::new(expected));
        }
        assert_eq!(default_output(Path::new("x.png"), Format::Mask), Path::new("x.mask.png"));
    }

    #[test]
    fn a_target_that_exists_needs_force() {
        let dir = tempfile::tempdir().unwrap();
        let (image, path) = (dir.path().join("in.png"), dir.path().join("out.png"));
        let resolve = |force| Target::resolve(path.clone(), &image, force);
        let early = resolve(false).unwrap();
        std::fs::write(&path, "there").unwrap();
        assert!(resolve(false).unwrap_err().to_string().contains("--force"));
        // One that was free when we looked is not replaced either.
        assert!(early.write(|_| Ok(())).unwrap_err().to_string().contains("--force"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "there");
        resolve(true).unwrap().write(|_| Ok(())).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn the_image_is_never_the_target() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("in.png");
        std::fs::write(&image, "").unwrap();
        let roundabout = dir.path().join(".").join("in.png");
        for path in [image.clone(), roundabout] {
            assert!(Target::resolve(path, &image, true).unwrap_err().to_string().contains("the image itself"));
        }
    }

    #[test]
    fn a_target_is_a_png_in_a_directory_that_exists() {
        let wrong = |path: &str| Target::resolve(path.into(), Path::new("in.png"), true).unwrap_err().to_string();
        assert!(wrong("out.jpg").contains(".png"));
        assert!(wrong("out").contains(".png"));
        assert!(wrong("no/such/dir/out.png").contains("`no/such/dir` does not exist"));
    }
}
