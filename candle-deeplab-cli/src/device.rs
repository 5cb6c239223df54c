//! The device that a network runs on.

use anyhow::{Context, Result, ensure};
use candle_core::Device;

use crate::args::{DeviceName, DtypeName};

/// The devices that are faster than the CPU, the fastest first.
const FASTEST_FIRST: [DeviceName; 2] = [DeviceName::Cuda(0), DeviceName::Metal(0)];

/// A device and its name, which is never `auto`.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) device: Device,
    pub(crate) name: DeviceName,
}

/// Opens the device of a name. For `auto`, `say` gets a message for each device that was built in but does not work.
pub(crate) fn choose(name: DeviceName, dtype: DtypeName, say: impl FnMut(&str)) -> Result<Chosen> {
    match name {
        // Other precisions run on the CPU only.
        DeviceName::Auto if dtype != DtypeName::F32 => open(DeviceName::Cpu),
        DeviceName::Auto => first_that_works(FASTEST_FIRST.into_iter().filter(|name| is_built_in(*name)), open, say),
        name => open(name),
    }
}

/// The first device that can be opened, else the CPU, which always works.
fn first_that_works(
    names: impl Iterator<Item = DeviceName>,
    open: impl Fn(DeviceName) -> Result<Chosen>,
    mut say: impl FnMut(&str),
) -> Result<Chosen> {
    for name in names {
        match open(name) {
            Ok(chosen) => return Ok(chosen),
            Err(error) => {
                let reason = error.root_cause().to_string();
                let reason = reason.lines().next().unwrap_or_default().trim();
                say(&format!("`{name}` does not work here ({reason}): the network runs elsewhere"));
            }
        }
    }
    open(DeviceName::Cpu)
}

/// Whether this program was built for a device.
fn is_built_in(name: DeviceName) -> bool {
    match name {
        DeviceName::Auto | DeviceName::Cpu => true,
        DeviceName::Cuda(_) => candle_core::utils::cuda_is_available(),
        DeviceName::Metal(_) => candle_core::utils::metal_is_available(),
    }
}

/// A device that this program was built for, ready to be used.
fn open(name: DeviceName) -> Result<Chosen> {
    let kind = name.to_string();
    let feature = kind.split(':').next().unwrap_or_default();
    ensure!(
        is_built_in(name),
        "this program was built without {feature}: run `cargo run --release --features {feature} -- …`, \
         or leave `--device` out"
    );
    let device = match name {
        DeviceName::Auto | DeviceName::Cpu => Ok(Device::Cpu),
        DeviceName::Cuda(ordinal) => {
            Device::new_cuda(ordinal).with_context(|| format!("cannot use `{name}`: `nvidia-smi` lists the GPUs"))
        }
        DeviceName::Metal(ordinal) => Device::new_metal(ordinal).with_context(|| format!("cannot use `{name}`")),
    };
    Ok(Chosen { device: device?, name })
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    /// The device that is chosen if only the `working` ones can be opened, and the messages.
    fn chosen(names: &[DeviceName], working: &[DeviceName]) -> (DeviceName, Vec<String>) {
        let open = |name| match name {
            DeviceName::Cpu => open(name),
            name if working.contains(&name) => Ok(Chosen { device: Device::Cpu, name }),
            name => bail!("no {name} at all\nbacktrace"),
        };
        let mut said = vec![];
        let chosen = first_that_works(names.iter().copied(), open, |line| said.push(line.to_owned())).unwrap();
        (chosen.name, said)
    }

    #[test]
    fn cuda_comes_before_metal_and_metal_before_the_cpu() {
        let [cuda, metal] = FASTEST_FIRST;
        assert_eq!((cuda, metal), (DeviceName::Cuda(0), DeviceName::Metal(0)));
        assert_eq!(chosen(&[cuda, metal], &[cuda, metal]), (cuda, vec![]));
        assert_eq!(chosen(&[metal], &[metal]), (metal, vec![]));
        assert_eq!(chosen(&[], &[]), (DeviceName::Cpu, vec![]));
    }

    #[test]
    fn what_was_built_in_and_does_not_work_is_said_in_a_line() {
        let [cuda, metal] = FASTEST_FIRST;
        let (name, said) = chosen(&[cuda, metal], &[metal]);
        assert_eq!((name, said.len()), (metal, 1));
        let (name, said) = chosen(&[cuda], &[]);
        assert_eq!(name, DeviceName::Cpu);
        assert_eq!(said, ["`cuda:0` does not work here (no cuda:0 at all): the network runs elsewhere"]);
    }

    #[test]
    fn numbers_that_only_the_cpu_computes_in_choose_the_cpu() {
        let chosen = choose(DeviceName::Auto, DtypeName::Bf16, |said| panic!("{said}")).unwrap();
        assert_eq!(chosen.name, DeviceName::Cpu);
    }
}
