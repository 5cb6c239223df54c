//! Stochastic gradient descent with momentum.

use candle_core::{Tensor, Var};

use super::group::Group;
use super::inplace::{self, Update};
use super::recipe::SgdRecipe;
use super::state::State;
use crate::error::Result;

/// What the names of velocities begin with.
const VELOCITY: &str = "momentum.";

/// See [`SgdRecipe`] for the rule.
#[derive(Debug)]
pub(super) struct Sgd {
    recipe: SgdRecipe,
    /// The velocity of each parameter that has had a gradient.
    velocities: Vec<Option<Tensor>>,
}

impl Sgd {
    pub(super) fn new(recipe: &SgdRecipe, count: usize) -> Self {
        Self { recipe: recipe.clone(), velocities: vec![None; count] }
    }

    pub(super) fn step(
        &mut self,
        index: usize,
        parameter: &Var,
        gradient: &Tensor,
        rate: f64,
        decay: f64,
    ) -> Result<()> {
        if self.recipe.momentum == 0.0 || !inplace::possible(&[gradient, parameter]) {
            return self.by_tensors(index, parameter, gradient, rate, decay);
        }
        let SgdRecipe { momentum, nesterov } = self.recipe;
        let velocity = match &mut self.velocities[index] {
            Some(velocity) => &*velocity,
            none => none.insert(gradient.zeros_like()?),
        };
        let [momentum, decay, rate] = [momentum, decay, rate].map(|number| number as f32);
        velocity.inplace_op3(gradient, parameter, &Update(|v, g, w| v * momentum + (g + w * decay)))?;
        if nesterov {
            parameter.inplace_op3(
                gradient,
                velocity,
                &Update(|w, g, v| w - ((g + w * decay) + v * momentum) * rate),
            )?;
        } else {
            parameter.inplace_op3(velocity, velocity, &Update(|w, v, _| w - v * rate))?;
        }
        Ok(())
    }

    /// The same by tensor operations, which every device has.
    fn by_tensors(&mut self, index: usize, parameter: &Var, gradient: &Tensor, rate: f64, decay: f64) -> Result<()> {
        let momentum = self.recipe.momentum;
        let gradient =
            if decay == 0.0 { gradient.clone() } else { (gradient + (parameter.as_detached_tensor() * decay)?)? };
        let change = if momentum == 0.0 {
            gradient
        } else {
            let velocity = match &self.velocities[index] {
                Some(velocity) => ((velocity * momentum)? + &gradient)?,
                // A copy: the gradient may belong to somebody else.
                None => gradient.copy()?,
            };
            let change = if self.recipe.nesterov { (gradient + (&velocity * momentum)?)? } else { velocity.clone() };
            self.velocities[index] = Some(velocity.detach());
            change
        };
        parameter.set(&(parameter.as_detached_tensor() - (change * rate)?)?)?;
        Ok(())
    }

    /// Copies, since velocities change in place.
    pub(super) fn state(&self, groups: &[Group]) -> Result<Vec<(String, Tensor)>> {
        let named = |(group, velocity): (&Group, &Option<Tensor>)| {
            velocity.as_ref().map(|velocity| Ok((format!("{VELOCITY}{}", group.name), velocity.copy()?)))
        };
        groups.iter().zip(&self.velocities).filter_map(named).collect()
    }

    pub(super) fn load(&mut self, state: &mut State, parameters: &[Var], groups: &[Group]) -> Result<()> {
        for ((velocity, parameter), group) in self.velocities.iter_mut().zip(parameters).zip(groups) {
            *velocity = state.take(&format!("{VELOCITY}{}", group.name), parameter)?;
        }
        Ok(())
    }
}
