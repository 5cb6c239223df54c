//! Adam with decoupled weight decay.

use candle_core::{Tensor, Var};

use super::group::Group;
use super::recipe::AdamWRecipe;
use super::state::{self, State};
use crate::error::Result;

// What the names of a parameter's state begin with.
const STEPS: &str = "steps.";
const MEAN: &str = "mean.";
const SQUARE: &str = "square.";

/// `w ← w (1 − rate · decay)`, then `w ← w − rate · m̂ / (√v̂ + ε)`, with the moments' bias corrected (PyTorch's `AdamW`).
#[derive(Debug)]
pub(super) struct AdamW {
    recipe: AdamWRecipe,
    /// The state of each parameter that has had a gradient.
    moments: Vec<Option<Moments>>,
}

#[derive(Debug, Clone)]
struct Moments {
    /// How many steps they have seen.
    steps: u32,
    mean: Tensor,
    square: Tensor,
}

impl AdamW {
    pub(super) fn new(recipe: &AdamWRecipe, count: usize) -> Self {
        Self { recipe: recipe.clone(), moments: vec![None; count] }
    }

    pub(super) fn step(
        &mut self,
        index: usize,
        parameter: &Var,
        gradient: &Tensor,
        rate: f64,
        decay: f64,
    ) -> Result<()> {
        let AdamWRecipe { beta1, beta2, epsilon } = self.recipe;
        let gradient = gradient.detach();
        let (steps, mean, square) = match self.moments[index].take() {
            Some(Moments { steps, mean, square }) => (steps, mean, square),
            None => (0, gradient.zeros_like()?, gradient.zeros_like()?),
        };
        let steps = state::one_more(steps);
        let mean = ((mean * beta1)? + (&gradient * (1.0 - beta1))?)?;
        let square = ((square * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let correction = |beta: f64| 1.0 - beta.powf(f64::from(steps));
        let root = ((square.sqrt()? / correction(beta2).sqrt())? + epsilon)?;
        let decayed = if decay == 0.0 {
            parameter.as_detached_tensor()
        } else {
            (parameter.as_detached_tensor() * (1.0 - rate * decay))?
        };
        parameter.set(&(decayed - ((&mean / root)? * (rate / correction(beta1)))?)?)?;
        self.moments[index] = Some(Moments { steps, mean, square });
        Ok(())
    }

    pub(super) fn state(&self, groups: &[Group]) -> Result<Vec<(String, Tensor)>> {
        let mut state = Vec::new();
        for (Group { name, .. }, moments) in groups.iter().zip(&self.moments) {
            let Some(Moments { steps, mean, square }) = moments else { continue };
            state.push((format!("{STEPS}{name}"), state::steps(*steps)?));
            state.push((format!("{MEAN}{name}"), mean.clone()));
            state.push((format!("{SQUARE}{name}"), square.clone()));
        }
        Ok(state)
    }

    pub(super) fn load(&mut self, state: &mut State, parameters: &[Var], groups: &[Group]) -> Result<()> {
        for ((moments, parameter), Group { name, .. }) in self.moments.iter_mut().zip(parameters).zip(groups) {
            let steps = state.take_steps(&format!("{STEPS}{name}"))?;
            let [mean, square] = [MEAN, SQUARE].map(|prefix| state.take(&format!("{prefix}{name}"), parameter));
            *moments = match (steps, mean?, square?) {
                (Some(steps), Some(mean), Some(square)) => Some(Moments { steps, mean, square }),
                (None, None, None) => None,
                _ => return Err(State::incomplete(name)),
            };
        }
        Ok(())
    }
}
