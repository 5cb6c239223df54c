//! Optimisers, what they need to know of each parameter, and what stands around them: clipping, accumulation, averages.

mod accumulate;
mod adamw;
mod clip;
mod ema;
mod group;
mod inplace;
mod recipe;
mod sgd;
mod state;
#[cfg(test)]
mod tests;

use candle_core::{Tensor, Var};

use crate::error::{Error, Result};
pub use accumulate::Accumulator;
use adamw::AdamW;
pub use ema::{Ema, EmaRecipe};
pub use group::{Group, groups};
pub use recipe::{AdamWRecipe, Grouping, Recipe, Rule, SgdRecipe};
use sgd::Sgd;
use state::State;

/// An optimiser with the parameters that it changes.
///
/// A parameter whose group has the rate 0 is never changed and has no state; one without a gradient is not changed in
/// that step, nor is its state (as in PyTorch).
#[derive(Debug)]
pub struct Optimizer {
    parameters: Vec<Var>,
    groups: Vec<Group>,
    weight_decay: f64,
    clip_norm: Option<f64>,
    method: Method,
}

#[derive(Debug)]
enum Method {
    Sgd(Sgd),
    AdamW(AdamW),
}

impl Optimizer {
    /// An optimiser for parameters and their groups, in the same order.
    ///
    /// # Errors
    /// [`Error::Recipe`] for a setting outside its range; otherwise where there is not one group for each parameter, or
    /// the device has no memory.
    pub fn new(recipe: &Recipe, parameters: Vec<Var>, groups: Vec<Group>) -> Result<Self> {
        recipe.check()?;
        if parameters.len() != groups.len() {
            let reason = format!("{} parameters and {} groups: give one for each", parameters.len(), groups.len());
            return Err(candle_core::Error::Msg(reason).into());
        }
        let method = match &recipe.rule {
            Rule::Sgd(sgd) => Method::Sgd(Sgd::new(sgd, parameters.len())),
            Rule::Adamw(adamw) => Method::AdamW(AdamW::new(adamw, parameters.len())),
        };
        Ok(Self { parameters, groups, weight_decay: recipe.weight_decay, clip_norm: recipe.clip_norm, method })
    }

    /// Changes the parameters by a step of the given learning rate. Returns the norm of all gradients before clipping.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the gradients' norm is not finite: nothing is changed then. Otherwise where there is not
    /// one gradient (or none) for each parameter, or it has another shape.
    pub fn step(&mut self, gradients: &[Option<Tensor>], rate: f64) -> Result<f64> {
        if gradients.len() != self.parameters.len() {
            let reason = format!("{} gradients for {} parameters", gradients.len(), self.parameters.len());
            return Err(candle_core::Error::Msg(reason).into());
        }
        let trained = |group: &Group| group.rate != 0.0;
        let counted = gradients.iter().zip(&self.groups).filter(|(_, group)| trained(group));
        let norm = clip::norm(counted.filter_map(|(gradient, _)| gradient.as_ref()))?;
        if !norm.is_finite() {
            return Err(Error::Diverged { what: "norm of the gradients", value: norm });
        }
        let factor = self.clip_norm.map_or(1.0, |most| clip::factor(norm, most));
        for (index, ((parameter, group), gradient)) in
            self.parameters.iter().zip(&self.groups).zip(gradients).enumerate()
        {
            let Some(gradient) = gradient.as_ref().filter(|_| trained(group)) else { continue };
            let gradient = if factor < 1.0 { (gradient * factor)? } else { gradient.clone() };
            let decay = if group.decay { self.weight_decay } else { 0.0 };
            match &mut self.method {
                Method::Sgd(sgd) => sgd.step(index, parameter, &gradient, rate * group.rate, decay)?,
                Method::AdamW(adamw) => adamw.step(index, parameter, &gradient, rate * group.rate, decay)?,
            }
        }
        Ok(norm)
    }

    /// Everything that later steps depend on, by name, beside the parameters themselves.
    ///
    /// # Errors
    /// Where a tensor cannot be made.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        match &self.method {
            Method::Sgd(sgd) => sgd.state(&self.groups),
            Method::AdamW(adamw) => adamw.state(&self.groups),
        }
    }

    /// Takes over a state that [`state`](Self::state) returned: the steps that follow are the same, bit for bit.
    ///
    /// # Errors
    /// [`Error::State`] where a tensor is of no parameter of this optimiser, has another shape, or one is missing.
    pub fn load_state(&mut self, state: impl IntoIterator<Item = (String, Tensor)>) -> Result<()> {
        let mut state = State::new(state);
        match &mut self.method {
            Method::Sgd(sgd) => sgd.load(&mut state, &self.parameters, &self.groups)?,
            Method::AdamW(adamw) => adamw.load(&mut state, &self.parameters, &self.groups)?,
        }
        state.finish()
    }
}
