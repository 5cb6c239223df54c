//! The device that the arguments name.

use anyhow::{Result, anyhow};
use candle_deeplab::Precision;
pub(crate) use candle_deeplab::device::Chosen;
use candle_deeplab::device::{self, DeviceName, NoDevice};

/// Opens the device of a name, for a network that computes in a precision. For `auto`, `say` gets a message for each device that was built in but does not work.
pub(crate) fn choose(name: DeviceName, precision: Precision, say: impl FnMut(&str)) -> Result<Chosen> {
    device::choose(name, precision, say).map_err(|reason| match reason {
        NoDevice::NotBuilt(name) => {
            let feature = name.feature();
            anyhow!("{reason}: build it with `--features {feature}`, or leave `--device` out")
        }
        reason => reason.into(),
    })
}
