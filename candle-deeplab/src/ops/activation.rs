//! Piecewise approximations of the sigmoid and of `x · sigmoid(x)` (Howard et al. 2019, section 5.2), as in PyTorch.

use candle_core::{Result, Tensor};

/// `min(max(x + 3, 0), 6) / 6`. TensorFlow multiplies by 0.16667 instead in MobileNetV3, and Keras' has the slope 0.2.
///
/// # Errors
/// Where candle does not support the tensor's type.
pub fn hard_sigmoid(x: &Tensor) -> Result<Tensor> {
    (x + 3.0)?.clamp(0f32, 6f32)? / 6.0
}

/// `x · min(max(x + 3, 0), 6) / 6`.
///
/// # Errors
/// Where candle does not support the tensor's type.
pub fn hard_swish(x: &Tensor) -> Result<Tensor> {
    (x * (x + 3.0)?.clamp(0f32, 6f32)?)? / 6.0
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::testing::{check_gradient, hashed};
    use super::*;

    #[test]
    fn they_are_pytorchs() {
        let x = Tensor::new(&[-4f64, -3.0, -1.5, 0.0, 1.0, 3.0, 4.0], &Device::Cpu).unwrap();
        let close = |ours: Tensor, wanted: [f64; 7]| {
            for (ours, wanted) in ours.to_vec1::<f64>().unwrap().into_iter().zip(wanted) {
                assert!((ours - wanted).abs() < 1e-15, "{ours} for {wanted}");
            }
        };
        close(hard_sigmoid(&x).unwrap(), [0.0, 0.0, 0.25, 0.5, 2.0 / 3.0, 1.0, 1.0]);
        close(hard_swish(&x).unwrap(), [0.0, 0.0, -0.375, 0.0, 2.0 / 3.0, 3.0, 4.0]);
    }

    /// The inputs cover all three pieces.
    #[test]
    fn they_have_gradients() {
        let x = (hashed("x", &[2, 3, 3, 3]) * 6.0).unwrap();
        check_gradient(&x, hard_sigmoid, "hard-sigmoid");
        check_gradient(&x, hard_swish, "hard-swish");
    }

    /// Gradients of both factors: the values, and the weight of each channel.
    #[test]
    fn a_product_with_a_weight_a_channel_has_gradients() {
        let (x, gate) = (hashed("x", &[2, 3, 3, 2]), hashed("gate", &[2, 3, 1, 1]));
        check_gradient(&x, |x| x.broadcast_mul(&gate), "x");
        check_gradient(&gate, |gate| x.broadcast_mul(gate), "gate");
    }
}
