//! Tensors by name, from which an optimiser takes its state.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};

/// A saved state. What nobody has taken at the end is a fault.
pub(super) struct State(BTreeMap<String, Tensor>);

/// Steps are counted up to this number, the greatest up to which f32 has every integer. What depends on them has long
/// become constant by then.
const MOST_STEPS: u32 = 1 << 24;

/// The number of steps after one more.
pub(super) fn one_more(steps: u32) -> u32 {
    (steps + 1).min(MOST_STEPS)
}

/// A number of steps as a tensor. A checkpoint holds f32 only.
pub(super) fn steps(steps: u32) -> Result<Tensor> {
    Ok(Tensor::new(steps as f32, &Device::Cpu)?)
}

impl State {
    pub(super) fn new(state: impl IntoIterator<Item = (String, Tensor)>) -> Self {
        Self(state.into_iter().collect())
    }

    /// Takes the tensor of a name, which has the type and shape of `like` and comes to its device; `None` if there is
    /// none.
    pub(super) fn take(&mut self, name: &str, like: &Tensor) -> Result<Option<Tensor>> {
        let Some(tensor) = self.0.remove(name) else { return Ok(None) };
        if tensor.dims() != like.dims() || tensor.dtype() != like.dtype() {
            let was = (tensor.dtype(), tensor.dims());
            let reason = format!("is {was:?}, but the parameter is {:?}", (like.dtype(), like.dims()));
            return Err(Error::State { name: name.to_owned(), reason });
        }
        // A copy, since velocities change in place.
        Ok(Some(tensor.to_device(like.device())?.copy()?))
    }

    /// Takes a number of steps, which [`steps`] made.
    pub(super) fn take_steps(&mut self, name: &str) -> Result<Option<u32>> {
        let Some(tensor) = self.0.remove(name) else { return Ok(None) };
        let steps = (tensor.dtype() == DType::F32 && tensor.rank() == 0).then(|| tensor.to_scalar::<f32>());
        match steps.transpose()?.filter(|&steps| steps.fract() == 0.0 && (0.0..=MOST_STEPS as f32).contains(&steps)) {
            Some(steps) => Ok(Some(steps as u32)),
            None => Err(Error::State { name: name.to_owned(), reason: "is not a number of steps".to_owned() }),
        }
    }

    /// Checks that everything has been taken.
    pub(super) fn finish(self) -> Result<()> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::State { name, reason: "belongs to no parameter that is trained here".to_owned() }),
        }
    }

    pub(super) fn incomplete(name: &str) -> Error {
        Error::State { name: name.to_owned(), reason: "has only a part of its state".to_owned() }
    }
}
