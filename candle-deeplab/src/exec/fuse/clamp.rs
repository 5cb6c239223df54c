//! Activations that only clamp.

use crate::graph::Activation;

/// The bounds that a result is clamped to: those of an activation, or none. NaN stays NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clamp {
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl Clamp {
    pub(crate) const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY };
    pub(crate) const RELU: Self = Self { low: 0.0, ..Self::NONE };
    pub(crate) const RELU6: Self = Self { low: 0.0, high: 6.0 };

    /// The bounds of an activation that only clamps; `None` for others.
    pub(crate) fn of(activation: Activation) -> Option<Self> {
        match activation {
            Activation::Relu => Some(Self::RELU),
            Activation::Relu6 => Some(Self::RELU6),
            Activation::HardSwish | Activation::HardSigmoid => None,
        }
    }

    pub(crate) fn apply(self, x: f32) -> f32 {
        x.clamp(self.low, self.high)
    }
}
