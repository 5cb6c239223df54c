//! The device that a network runs on, by its name.

use std::error::Error as _;
use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::exec::Precision;

/// A device by name: `auto`, `cpu`, `cuda`, `cuda:1`, `metal`, `metal:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// The fastest one that this program was built for and that works.
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU of NVIDIA, by its number.
    Cuda(usize),
    /// A GPU of Apple, by its number.
    Metal(usize),
}

impl DeviceName {
    /// The devices that are faster than the CPU, the fastest first.
    const FASTEST_FIRST: [Self; 2] = [Self::Cuda(0), Self::Metal(0)];

    /// The cargo feature that a program needs for such a device; the CPU needs none.
    pub fn feature(self) -> &'static str {
        match self {
            Self::Auto | Self::Cpu => "",
            Self::Cuda(_) => "cuda",
            Self::Metal(_) => "metal",
        }
    }

    /// What to do where it does not work, after a colon.
    fn advice(self) -> &'static str {
        if matches!(self, Self::Cuda(_)) { ": `nvidia-smi` lists the GPUs" } else { "" }
    }

    /// Whether this program was built for it.
    fn is_built_in(self) -> bool {
        match self {
            Self::Auto | Self::Cpu => true,
            Self::Cuda(_) => candle_core::utils::cuda_is_available(),
            Self::Metal(_) => candle_core::utils::metal_is_available(),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, ordinal) = match text.split_once(':') {
            Some((kind, ordinal)) => (kind, ordinal.parse().ok()),
            None => (text, Some(0)),
        };
        match (kind, ordinal) {
            ("auto", Some(_)) if text == "auto" => Ok(Self::Auto),
            ("cpu", Some(_)) if text == "cpu" => Ok(Self::Cpu),
            ("cuda", Some(ordinal)) => Ok(Self::Cuda(ordinal)),
            ("metal", Some(ordinal)) => Ok(Self::Metal(ordinal)),
            _ => Err("choose `auto`, `cpu`, `cuda`, `metal`, or a numbered one such as `cuda:1`".into()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::Metal(ordinal) => write!(f, "metal:{ordinal}"),
        }
    }
}

/// A device and its name, which is never [`Auto`](DeviceName::Auto).
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The device.
    pub device: Device,
    /// Its name.
    pub name: DeviceName,
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoDevice {
    /// The program was built without the [feature](DeviceName::feature) for it.
    #[error("this program was built without {}", .0.feature())]
    NotBuilt(DeviceName),
    /// The device or its driver does not work.
    #[error("cannot use `{name}`{}", .name.advice())]
    Broken {
        /// The device.
        name: DeviceName,
        /// What candle says.
        source: candle_core::Error,
    },
}

/// Opens the device of a name, for a network that computes in a precision. For `auto`, `say` gets a message for each device
/// that was built in but does not work.
///
/// # Errors
/// The device cannot be used. `auto` always finds one: the CPU.
pub fn choose(name: DeviceName, precision: Precision, say: impl FnMut(&str)) -> Result<Chosen, NoDevice> {
    match name {
        // Other precisions run on the CPU only.
        DeviceName::Auto if precision != Precision::F32 => open(DeviceName::Cpu),
        DeviceName::Auto => {
            first_that_works(DeviceName::FASTEST_FIRST.into_iter().filter(|name| name.is_built_in()), open, say)
        }
        name => open(name),
    }
}

/// The first device that can be opened, else the CPU, which always works.
fn first_that_works(
    names: impl Iterator<Item = DeviceName>,
    open: impl Fn(DeviceName) -> Result<Chosen, NoDevice>,
    mut say: impl FnMut(&str),
) -> Result<Chosen, NoDevice> {
    for name in names {
        match open(name) {
            Ok(chosen) => return Ok(chosen),
            Err(error) => {
                let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                let reason = reason.lines().next().unwrap_or_default().trim();
                say(&format!("`{name}` does not work here ({reason}): the network runs elsewhere"));
            }
        }
    }
    open(DeviceName::Cpu)
}

/// A device that this program was built for, ready to be used.
fn open(name: DeviceName) -> Result<Chosen, NoDevice> {
    if !name.is_built_in() {
        return Err(NoDevice::NotBuilt(name));
    }
    let device = match name {
        DeviceName::Auto | DeviceName::Cpu => Ok(Device::Cpu),
        DeviceName::Cuda(ordinal) => Device::new_cuda(ordinal),
        DeviceName::Metal(ordinal) => Device::new_metal(ordinal),
    };
    let device = device.map_err(|source| NoDevice::Broken { name, source })?;
    Ok(Chosen { device, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        for (text, device) in [
            ("auto", DeviceName::Auto),
            ("cpu", DeviceName::Cpu),
            ("cuda", DeviceName::Cuda(0)),
            ("cuda:3", DeviceName::Cuda(3)),
            ("metal", DeviceName::Metal(0)),
        ] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for text in ["", "gpu", "auto:0", "cpu:0", "cpu:", "cuda:", "cuda:x", "cuda:-1", "CUDA"] {
            assert!(text.parse::<DeviceName>().unwrap_err().contains("choose"), "{text}");
        }
    }

    /// The device that is chosen if only the `working` ones can be opened, and the messages.
    fn chosen(names: &[DeviceName], working: &[DeviceName]) -> (DeviceName, Vec<String>) {
        let open = |name| match name {
            DeviceName::Cpu => open(name),
            name if working.contains(&name) => Ok(Chosen { device: Device::Cpu, name }),
            name => {
                let source = candle_core::Error::Msg(format!("no {name} at all\nbacktrace"));
                Err(NoDevice::Broken { name, source })
            }
        };
        let mut said = vec![];
        let chosen = first_that_works(names.iter().copied(), open, |line| said.push(line.to_owned())).unwrap();
        (chosen.name, said)
    }

    #[test]
    fn cuda_comes_before_metal_and_metal_before_the_cpu() {
        let [cuda, metal] = DeviceName::FASTEST_FIRST;
        assert_eq!((cuda, metal), (DeviceName::Cuda(0), DeviceName::Metal(0)));
        assert_eq!(chosen(&[cuda, metal], &[cuda, metal]), (cuda, vec![]));
        assert_eq!(chosen(&[metal], &[metal]), (metal, vec![]));
        assert_eq!(chosen(&[], &[]), (DeviceName::Cpu, vec![]));
    }

    #[test]
    fn what_was_built_in_and_does_not_work_is_said_in_a_line() {
        let [cuda, metal] = DeviceName::FASTEST_FIRST;
        let (name, said) = chosen(&[cuda, metal], &[metal]);
        assert_eq!((name, said.len()), (metal, 1));
        let (name, said) = chosen(&[cuda], &[]);
        assert_eq!(name, DeviceName::Cpu);
        assert_eq!(said, ["`cuda:0` does not work here (no cuda:0 at all): the network runs elsewhere"]);
    }

    #[test]
    fn numbers_that_only_the_cpu_computes_in_choose_the_cpu() {
        let chosen = choose(DeviceName::Auto, Precision::Bf16, |said| panic!("{said}")).unwrap();
        assert_eq!(chosen.name, DeviceName::Cpu);
    }
}
