//! From arguments to what a command works with. Whatever can be wrong is found here, before any time is spent.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use candle_deeplab::Error;
use candle_deeplab::atomic;

use crate::args::{DeviceName, Format, SegmentArgs};

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
        let weights = weights(args.weights)?;
        let path = args.output.unwrap_or_else(|| default_output(&args.image, args.format));
        Ok(Self {
            output: Target::resolve(path, &args.image, args.force)?,
            device: device(args.device)?,
            image: args.image,
            weights,
            format: args.format,
            opacity: args.opacity,
            device_name: args.device,
            output_stride: args.output_stride,
        })
    }
}

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

fn device(name: DeviceName) -> Result<Device> {
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
