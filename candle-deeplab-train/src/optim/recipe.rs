//! The settings of an optimiser.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An optimiser: a rule by which parameters change, and which parameters it treats how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The rule.
    pub rule: Rule,
    /// The decay of kernels; which of them decay is said by `groups`. With SGD, it is a loss of `decay / 2 · |w|²`, and
    /// 4e-5 in TensorFlow's DeepLab; with AdamW it is decoupled, and rather 1e-2 (PyTorch's default).
    pub weight_decay: f64,
    /// Rates and decay of the parameters, relative to those of the recipe.
    pub groups: Grouping,
    /// The norm of all gradients together to which they are scaled down if it is greater (PyTorch's `clip_grad_norm_`).
    pub clip_norm: Option<f64>,
    /// How many batches the gradients of one step are averaged over.
    pub accumulate: usize,
}

/// The rule by which parameters change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rule {
    /// Stochastic gradient descent with momentum.
    Sgd(SgdRecipe),
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    Adamw(AdamWRecipe),
}

/// Stochastic gradient descent with momentum m: `v ← m v + g`, then `w ← w − rate · v`, where the gradient `g` includes
/// the decay.
///
/// PyTorch's `SGD` and TensorFlow's `MomentumOptimizer`, which trained DeepLab's published weights, agree in this.
/// Keras's `SGD` and Caffe have the rate within the velocity (`v ← m v − rate · g`, `w ← w + v`), which differs whenever
/// the rate changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdRecipe {
    /// m.
    pub momentum: f64,
    /// Whether parameters change by `g + m v` instead of `v` (Nesterov).
    pub nesterov: bool,
}

/// Adam with decoupled weight decay, as PyTorch's `AdamW`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWRecipe {
    /// The decay of the mean gradient.
    pub beta1: f64,
    /// The decay of the mean squared gradient.
    pub beta2: f64,
    /// What is added to the root of the mean square.
    pub epsilon: f64,
}

/// How parameters differ in rate and decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grouping {
    /// The rate of parameters outside the backbone, as a multiple (TensorFlow's `last_layer_gradient_multiplier`;
    /// mmsegmentation's `paramwise_cfg`). 1 by default.
    pub head_rate: f64,
    /// The rate of the backbone's parameters, as a multiple; 0 freezes them. 1 by default.
    pub backbone_rate: f64,
    /// The rate of convolutions' biases, as a further multiple: 2 in TensorFlow's DeepLab, 1 by default.
    pub bias_rate: f64,
    /// Whether depthwise kernels decay. They do in PyTorch's code bases, and do not in TensorFlow's.
    pub decay_depthwise: bool,
    /// Whether norms' parameters and biases decay. They do in PyTorch's code bases by default, and do not in
    /// TensorFlow's.
    pub decay_norms_and_biases: bool,
}

impl Default for Recipe {
    /// SGD with momentum 0.9 and a decay of 4e-5 of kernels only.
    fn default() -> Self {
        Self {
            rule: Rule::Sgd(SgdRecipe::default()),
            weight_decay: 4e-5,
            groups: Grouping::default(),
            clip_norm: None,
            accumulate: 1,
        }
    }
}

impl Default for SgdRecipe {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: false }
    }
}

impl Default for AdamWRecipe {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl Default for Grouping {
    fn default() -> Self {
        Self {
            head_rate: 1.0,
            backbone_rate: 1.0,
            bias_rate: 1.0,
            decay_depthwise: true,
            decay_norms_and_biases: false,
        }
    }
}

impl Recipe {
    /// Checks that every setting can be used.
    ///
    /// # Errors
    /// [`Error::Recipe`] with the setting's name.
    pub fn check(&self) -> Result<()> {
        match &self.rule {
            Rule::Sgd(sgd) => {
                share("optimizer.rule.momentum", sgd.momentum)?;
                if sgd.nesterov && sgd.momentum == 0.0 {
                    return Err(Error::recipe("optimizer.rule.nesterov", "needs a momentum above 0"));
                }
            }
            Rule::Adamw(adamw) => {
                share("optimizer.rule.beta1", adamw.beta1)?;
                share("optimizer.rule.beta2", adamw.beta2)?;
                not_negative("optimizer.rule.epsilon", adamw.epsilon)?;
            }
        }
        not_negative("optimizer.weight_decay", self.weight_decay)?;
        not_negative("optimizer.groups.head_rate", self.groups.head_rate)?;
        not_negative("optimizer.groups.backbone_rate", self.groups.backbone_rate)?;
        not_negative("optimizer.groups.bias_rate", self.groups.bias_rate)?;
        if let Some(norm) = self.clip_norm.filter(|&norm| !(norm.is_finite() && norm > 0.0)) {
            return Err(Error::recipe("optimizer.clip_norm", format!("{norm} is not a number above 0")));
        }
        if self.accumulate == 0 {
            return Err(Error::recipe("optimizer.accumulate", "must be at least 1 batch"));
        }
        Ok(())
    }
}

fn not_negative(setting: &str, value: f64) -> Result<()> {
    let fine = value.is_finite() && value >= 0.0;
    if fine { Ok(()) } else { Err(Error::recipe(setting, format!("{value} is not a number of at least 0"))) }
}

/// Checks that a value is at least 0 and less than 1.
pub(super) fn share(setting: &str, value: f64) -> Result<()> {
    let fine = (0.0..1.0).contains(&value);
    if fine { Ok(()) } else { Err(Error::recipe(setting, format!("{value} is not at least 0 and less than 1"))) }
}
