//! Where a network runs, and the numbers that it computes in.

use std::error::Error;
use std::ffi::CString;

use candle_deeplab::device::{self, Chosen, DeviceName, NoDevice};
use candle_deeplab::{Executor, Precision};
use pyo3::exceptions::{PyRuntimeWarning, PyValueError};
use pyo3::prelude::*;

use crate::errors::ModelError;
use crate::wait;

/// Opens the device of a name. Warns of each one that was built in but does not work, where `auto` passes it over.
pub(crate) fn choose(py: Python<'_>, name: &str, precision: Precision) -> PyResult<Chosen> {
    let wanted = name.parse::<DeviceName>();
    let wanted = wanted.map_err(|reason| PyValueError::new_err(format!("there is no device `{name}`: {reason}")))?;
    let (chosen, said) = wait::in_thread(py, "opening the device", move || {
        let mut said = vec![];
        let chosen = device::choose(wanted, precision, |line| said.push(line.to_owned())).map_err(refused)?;
        Ok((chosen, said))
    })?;
    for line in said {
        PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &CString::new(line)?, 1)?;
    }
    check(&chosen, precision)?;
    Ok(chosen)
}

fn refused(reason: NoDevice) -> PyErr {
    ModelError::new_err(match (&reason, reason.source()) {
        (NoDevice::NotBuilt(name), _) => format!(
            "this package was built without {}: its README says how to build it in, or leave `device` out",
            name.feature()
        ),
        (reason, Some(cause)) => format!("{reason}: {cause}"),
        (reason, None) => reason.to_string(),
    })
}

/// Refuses a precision that the device does not compute fast.
fn check(chosen: &Chosen, precision: Precision) -> PyResult<()> {
    if precision != Precision::F32 && !chosen.device.is_cpu() {
        let reason = format!("only the CPU computes in {precision} yet: leave `dtype` or `device` out");
        return Err(ModelError::new_err(reason));
    }
    let resolved = Executor::Auto.resolve(precision);
    resolved.map(drop).map_err(|reason| ModelError::new_err(format!("{reason}: leave `dtype` out, for f32")))
}

/// The precision of a name.
pub(crate) fn precision(dtype: &str) -> PyResult<Precision> {
    [Precision::F32, Precision::Bf16]
        .into_iter()
        .find(|precision| precision.to_string() == dtype)
        .ok_or_else(|| PyValueError::new_err(format!("`dtype` is `f32` or `bf16`, not `{dtype}`")))
}
