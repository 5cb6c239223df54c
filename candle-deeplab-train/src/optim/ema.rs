//! An exponential moving average of a network's tensors.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::recipe::share;
use super::state::{self, State};
use crate::error::{Error, Result};

/// The settings of a moving average.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmaRecipe {
    /// The share of the average that a step keeps.
    pub decay: f64,
    /// Whether the average forgets faster at first: after `t` updates, it keeps `(1 + t) / (10 + t)`, if that is less
    /// than `decay` (TensorFlow's `ExponentialMovingAverage` with `num_updates`).
    pub warm_up: bool,
}

/// The name of the number of updates.
const UPDATES: &str = "updates";
/// What the names of averages begin with.
const AVERAGE: &str = "average.";

/// An exponential moving average of parameters and running statistics.
#[derive(Debug)]
pub struct Ema {
    recipe: EmaRecipe,
    updates: u32,
    averages: Vec<(String, Tensor)>,
}

impl Default for EmaRecipe {
    fn default() -> Self {
        Self { decay: 0.999, warm_up: true }
    }
}

impl EmaRecipe {
    /// Checks that every setting can be used.
    ///
    /// # Errors
    /// [`Error::Recipe`] with the setting's name.
    pub fn check(&self) -> Result<()> {
        share("ema.decay", self.decay)
    }
}

impl Ema {
    /// Starts with the tensors as they are. They are copied.
    ///
    /// # Errors
    /// [`Error::Recipe`] for a setting outside its range; otherwise where the device has no memory.
    pub fn new<'a>(recipe: &EmaRecipe, tensors: impl IntoIterator<Item = (String, &'a Tensor)>) -> Result<Self> {
        recipe.check()?;
        let averages = tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.detach().copy()?)));
        Ok(Self { recipe: recipe.clone(), updates: 0, averages: averages.collect::<Result<_>>()? })
    }

    /// Takes in the tensors after a step, in the same order.
    ///
    /// # Errors
    /// Where they differ in number or shape.
    pub fn update<'a>(&mut self, tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<()> {
        let tensors: Vec<&Tensor> = tensors.into_iter().collect();
        if tensors.len() != self.averages.len() {
            let reason = format!("{} tensors for {} averages", tensors.len(), self.averages.len());
            return Err(candle_core::Error::Msg(reason).into());
        }
        let decay = self.decay();
        for ((_, average), tensor) in self.averages.iter_mut().zip(tensors) {
            *average = (&*average + ((tensor.detach() - &*average)? * (1.0 - decay))?)?;
        }
        self.updates = state::one_more(self.updates);
        Ok(())
    }

    /// The share of the average that the next update keeps.
    pub fn decay(&self) -> f64 {
        let t = f64::from(self.updates);
        if self.recipe.warm_up { self.recipe.decay.min((1.0 + t) / (10.0 + t)) } else { self.recipe.decay }
    }

    /// The averages, by the names and in the order of [`new`](Self::new).
    pub fn averages(&self) -> &[(String, Tensor)] {
        &self.averages
    }

    /// Everything that later updates depend on, by name.
    ///
    /// # Errors
    /// Where a tensor cannot be made.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let averages = self.averages.iter().map(|(name, average)| (format!("{AVERAGE}{name}"), average.clone()));
        let updates = (UPDATES.to_owned(), state::steps(self.updates)?);
        Ok(std::iter::once(updates).chain(averages).collect())
    }

    /// Takes over a state that [`state`](Self::state) returned.
    ///
    /// # Errors
    /// [`Error::State`] where a tensor is missing, or is of none of these averages, or has another shape.
    pub fn load_state(&mut self, state: impl IntoIterator<Item = (String, Tensor)>) -> Result<()> {
        let missing = |name: &str| Error::State { name: name.to_owned(), reason: "is missing".to_owned() };
        let mut state = State::new(state);
        let updates = state.take_steps(UPDATES)?.ok_or_else(|| missing(UPDATES))?;
        let mut averages = Vec::with_capacity(self.averages.len());
        for (name, average) in &self.averages {
            let key = format!("{AVERAGE}{name}");
            averages.push((name.clone(), state.take(&key, average)?.ok_or_else(|| missing(&key))?));
        }
        state.finish()?;
        (self.updates, self.averages) = (updates, averages);
        Ok(())
    }
}
