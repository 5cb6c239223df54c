//! The learning rate as a function of the step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A learning-rate schedule: a warm-up, then a decay over the remaining steps.
///
/// It depends on nothing but the step, so a resumed run continues it exactly. As in TensorFlow's DeepLab
/// (`research/deeplab/utils/train_utils.py`, `get_model_learning_rate`), the decay begins where the warm-up ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// The number of steps of the whole run. A run that stops earlier follows the same curve.
    pub steps: usize,
    /// The learning rate where the decay begins.
    pub base_rate: f64,
    /// What the rate does before the decay.
    pub warm_up: WarmUp,
    /// What the rate does after the warm-up.
    pub decay: Decay,
}

/// The first steps, at a smaller rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WarmUp {
    /// How many steps it lasts; 0 for none (TensorFlow's `slow_start_step`).
    pub steps: usize,
    /// The rate of step 0, as a share of the base rate: TensorFlow's `slow_start_learning_rate` divided by its
    /// `base_learning_rate`, mmengine's `start_factor`.
    pub ratio: f64,
    /// How the rate gets from there to the base rate.
    pub shape: WarmUpShape,
}

/// How the rate changes during a warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmUpShape {
    /// It grows linearly and reaches the base rate after the last step of the warm-up (TensorFlow's
    /// `slow_start_burnin_type = "linear"`).
    #[default]
    Linear,
    /// It stays small (TensorFlow's `slow_start_burnin_type = "none"`, its default).
    Constant,
}

/// How the rate falls. `t` counts the steps after the warm-up, `T` is how many there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decay {
    /// `(base − end) · (1 − t/T)^power + end` (paper, section 4; TensorFlow's `polynomial_decay`; PyTorch's
    /// `PolynomialLR` with `end` 0; mmengine's `PolyLR` with `eta_min`).
    Poly {
        /// The exponent: 0.9 in the paper.
        #[serde(default = "poly_power")]
        power: f64,
        /// The rate at the end: 0 in the paper, 1e-4 in mmsegmentation.
        #[serde(default)]
        end_rate: f64,
    },
    /// `end + (base − end) · (1 + cos(π t/T)) / 2` (PyTorch's `CosineAnnealingLR`).
    Cosine {
        /// The rate at the end.
        #[serde(default)]
        end_rate: f64,
    },
    /// The rate stays as it is.
    Constant {},
    /// The rate is multiplied by `factor` after every `every` steps (TensorFlow's `exponential_decay`, `staircase`;
    /// PyTorch's `StepLR`).
    Step {
        /// Steps from one drop to the next.
        every: usize,
        /// What the rate is multiplied by.
        factor: f64,
    },
    /// The rate is multiplied by `factor` at each of the steps `at` (PyTorch's `MultiStepLR`).
    Milestones {
        /// The steps, counted from the end of the warm-up.
        at: Vec<usize>,
        /// What the rate is multiplied by.
        factor: f64,
    },
}

fn poly_power() -> f64 {
    0.9
}

impl Default for Schedule {
    /// The paper's protocol for PASCAL VOC: poly from 0.007 with power 0.9 over 30 000 steps.
    fn default() -> Self {
        Self { steps: 30_000, base_rate: 0.007, warm_up: WarmUp::default(), decay: Decay::default() }
    }
}

impl Default for WarmUp {
    fn default() -> Self {
        Self { steps: 0, ratio: 0.1, shape: WarmUpShape::Linear }
    }
}

impl Default for Decay {
    fn default() -> Self {
        Self::Poly { power: poly_power(), end_rate: 0.0 }
    }
}

impl Schedule {
    /// The learning rate of a step, counted from 0. After the last step, it keeps its last value.
    pub fn rate(&self, step: usize) -> f64 {
        let WarmUp { steps, ratio, shape } = self.warm_up;
        if step < steps {
            let start = self.base_rate * ratio;
            return match shape {
                WarmUpShape::Linear => start + (self.base_rate - start) * step as f64 / steps as f64,
                WarmUpShape::Constant => start,
            };
        }
        self.decayed(step - steps, self.steps.saturating_sub(steps))
    }

    /// The rate `t` steps after the warm-up, with `total` steps after it.
    fn decayed(&self, t: usize, total: usize) -> f64 {
        let done = if total == 0 { 1.0 } else { t.min(total) as f64 / total as f64 };
        let between = |end: f64, share: f64| end + (self.base_rate - end) * share;
        let dropped = |factor: f64, times: usize| self.base_rate * factor.powf(times as f64);
        match &self.decay {
            Decay::Poly { power, end_rate } => between(*end_rate, (1.0 - done).powf(*power)),
            Decay::Cosine { end_rate } => between(*end_rate, (1.0 + (PI * done).cos()) / 2.0),
            Decay::Constant {} => self.base_rate,
            Decay::Step { every, factor } => dropped(*factor, t / (*every).max(1)),
            Decay::Milestones { at, factor } => {
                dropped(*factor, at.iter().filter(|&&milestone| milestone <= t).count())
            }
        }
    }

    /// Checks that every rate is a number that can be trained with.
    ///
    /// # Errors
    /// [`Error::Recipe`] with the setting's name.
    pub fn check(&self) -> Result<()> {
        let not_negative = |setting: &str, value: f64| {
            let fine = value.is_finite() && value >= 0.0;
            if fine { Ok(()) } else { Err(Error::recipe(setting, format!("{value} is not a number of at least 0"))) }
        };
        if self.steps == 0 {
            return Err(Error::recipe("schedule.steps", "0 steps train nothing: give at least 1"));
        }
        if self.warm_up.steps >= self.steps {
            let reason = format!("must be less than the {} steps of the whole run", self.steps);
            return Err(Error::recipe("schedule.warm_up.steps", reason));
        }
        not_negative("schedule.base_rate", self.base_rate)?;
        not_negative("schedule.warm_up.ratio", self.warm_up.ratio)?;
        match &self.decay {
            Decay::Poly { power, end_rate } => {
                not_negative("schedule.decay.power", *power)?;
                not_negative("schedule.decay.end_rate", *end_rate)
            }
            Decay::Cosine { end_rate } => not_negative("schedule.decay.end_rate", *end_rate),
            Decay::Constant {} => Ok(()),
            Decay::Step { every: 0, .. } => Err(Error::recipe("schedule.decay.every", "must be at least 1 step")),
            Decay::Step { factor, .. } | Decay::Milestones { factor, .. } => {
                not_negative("schedule.decay.factor", *factor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        name: String,
        schedule: Schedule,
        rates: Vec<f64>,
    }

    #[test]
    fn the_rates_are_those_of_torch_tensorflow_and_mmengine() {
        let golden: Vec<Golden> = serde_json::from_str(include_str!("../tests/golden/schedules.json")).unwrap();
        assert_eq!(golden.len(), 8);
        for Golden { name, schedule, rates } in golden {
            schedule.check().unwrap();
            for (step, rate) in rates.into_iter().enumerate() {
                let ours = schedule.rate(step);
                assert!((ours - rate).abs() <= 1e-12, "{name}: step {step}: {ours} against {rate}");
            }
        }
    }

    #[test]
    fn the_last_rate_stays() {
        let schedule = Schedule { decay: Decay::Poly { power: 0.9, end_rate: 1e-4 }, ..Schedule::default() };
        assert_eq!([schedule.rate(30_000), schedule.rate(40_000), schedule.rate(usize::MAX)], [1e-4; 3]);
        assert_eq!(schedule.rate(0), 0.007);
    }

    #[test]
    fn a_recipe_says_what_is_wrong() {
        let setting = |text: &str| match toml::from_str::<Schedule>(text).unwrap().check().unwrap_err() {
            Error::Recipe { setting, .. } => setting,
            other => panic!("{other}"),
        };
        assert_eq!(setting("steps = 0"), "schedule.steps");
        assert_eq!(setting("steps = 10\nwarm_up.steps = 10"), "schedule.warm_up.steps");
        assert_eq!(setting("base_rate = -1"), "schedule.base_rate");
        assert_eq!(setting("base_rate = inf"), "schedule.base_rate");
        assert_eq!(setting("decay = { kind = 'poly', power = nan }"), "schedule.decay.power");
        assert_eq!(setting("decay = { kind = 'step', every = 0, factor = 0.1 }"), "schedule.decay.every");
        assert!(toml::from_str::<Schedule>("decay = { kind = 'poly', pover = 1 }").is_err());
        assert!(toml::from_str::<Schedule>("decay = { kind = 'constant', rate = 1 }").is_err());
        let schedule: Schedule = toml::from_str("decay = { kind = 'constant' }").unwrap();
        assert_eq!(schedule.rate(1_000), 0.007);
        assert_eq!(toml::from_str::<Schedule>(&toml::to_string(&schedule).unwrap()).unwrap(), schedule);
    }
}
