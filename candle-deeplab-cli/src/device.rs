//! The device that the arguments name.

use anyhow::{Result, anyhow};
pub(crate) use candle_deeplab::device::Chosen;
use candle_deeplab::device::{self, DeviceName, NoDevice};

use crate::args::DtypeName;
use crate::resolve;

/// Opens the device of a name. For `auto`, `say` gets a message for each device that was built in but does not work.
pub(crate) fn choose(name: DeviceName, dtype: DtypeName, say: impl FnMut(&str)) -> Result<Chosen> {
    device::choose(name, resolve::precision(dtype)?, say).map_err(|reason| match reason {
        NoDevice::NotBuilt(name) => {
            let feature = name.feature();
            anyhow!("{reason}: build it with `--features {feature}`, or leave `--device` out")
        }
        reason => reason.into(),
    })
}
