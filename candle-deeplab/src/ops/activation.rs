//! Activation functions and their gradients: ReLU, ReLU6, and the piecewise approximations of the sigmoid and of
//! `x · sigmoid(x)` (Howard et al. 2019, section 5.2), as in PyTorch.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::composed::gradients_of;
use super::function::{for_function, gradients, values};
use super::slices::{check_gradient_shape, for_float, on_cpu, tensor, with_slices};
use crate::graph::Activation;

/// Values that a task of a thread handles.
const TASK: usize = 1 << 14;

/// An activation function of each element of `x`, without candle's autograd on the CPU: see [`activation_backward`].
///
/// # Errors
/// Where candle does not support the tensor's type.
pub fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if !on_cpu(&[x]) {
        return composed(x, activation);
    }
    let x = x.contiguous()?;
    for_float!(x.dtype(), |T| with_slices([&x], |[xs]: [&[T]; 1]| {
        let mut y = vec![0.0; xs.len()];
        let tasks = y.par_chunks_mut(TASK).zip(xs.par_chunks(TASK));
        for_function!(Some(activation), |F| tasks.for_each(|(y, x)| values::<T, F>(x, y)));
        tensor(y, x.shape())
    }))
}

/// The gradient of [`activation`] at `x` for the gradient `dy` of its result. Where the function bends, it is
/// PyTorch's.
///
/// # Errors
/// Where the shapes differ, or candle does not support the tensor's type.
pub fn activation_backward(x: &Tensor, activation: Activation, dy: &Tensor) -> Result<Tensor> {
    check_gradient_shape(dy, x.dims())?;
    if !on_cpu(&[x, dy]) {
        let [dx] = gradients_of([x], dy, |[x]| composed(x, activation))?;
        return Ok(dx);
    }
    let (x, dy) = (x.contiguous()?, dy.contiguous()?);
    for_float!(x.dtype(), |T| with_slices([&x, &dy], |[xs, dys]: [&[T]; 2]| {
        let mut dx = vec![0.0; xs.len()];
        let tasks = dx.par_chunks_mut(TASK).zip(xs.par_chunks(TASK).zip(dys.par_chunks(TASK)));
        for_function!(Some(activation), |F| tasks.for_each(|(dx, (x, dy))| gradients::<T, F>(x, dy, dx)));
        tensor(dx, x.shape())
    }))
}

/// An activation function by candle's operations, with a gradient.
pub(super) fn composed(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Relu => x.relu(),
        Activation::Relu6 => x.clamp(0f32, 6f32),
        Activation::HardSwish => hard_swish(x),
        Activation::HardSigmoid => hard_sigmoid(x),
    }
}

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

    use super::super::testing::{check_gradient, hashed, max_abs_diff};
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

    const ALL: [Activation; 4] = [Activation::Relu, Activation::Relu6, Activation::HardSwish, Activation::HardSigmoid];

    #[test]
    fn the_kernels_and_candles_operations_agree() {
        // Whole vectors and a rest, and all pieces of the functions.
        let x = (hashed("x", &[1, 2, 97, 101]) * 9.0).unwrap();
        for of in ALL {
            let y = activation(&x, of).unwrap();
            assert!(max_abs_diff(&y, &composed(&x, of).unwrap()) < 1e-14, "{of:?}");
            let dy = hashed("dy", x.dims());
            let [wanted] = gradients_of([&x], &dy, |[x]| composed(x, of)).unwrap();
            assert!(max_abs_diff(&activation_backward(&x, of, &dy).unwrap(), &wanted) < 1e-14, "{of:?}");
        }
    }

    /// torch 2.15: the gradients of relu, hardtanh(0, 6), hardswish and hardsigmoid at their bends.
    #[test]
    fn bends_have_pytorchs_slopes() {
        let slopes = |of, at: &[f64]| {
            let x = Tensor::new(at, &Device::Cpu).unwrap();
            activation_backward(&x, of, &x.ones_like().unwrap()).unwrap().to_vec1::<f64>().unwrap()
        };
        assert_eq!(slopes(Activation::Relu, &[-0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(slopes(Activation::Relu6, &[0.0, 6.0]), [0.0, 0.0]);
        assert_eq!(slopes(Activation::HardSwish, &[-3.0, 3.0]), [0.0, 1.0]);
        assert_eq!(slopes(Activation::HardSigmoid, &[-3.0, 3.0]), [0.0, 0.0]);
    }

    /// A run that has diverged must not look healthy.
    #[test]
    fn nan_stays_nan() {
        let x = Tensor::new(&[f64::NAN; 33], &Device::Cpu).unwrap();
        for of in ALL {
            assert!(activation(&x, of).unwrap().to_vec1::<f64>().unwrap().iter().all(|y| y.is_nan()), "{of:?}");
        }
    }

    /// Gradients of both factors: the values, and the weight of each channel.
    #[test]
    fn a_product_with_a_weight_a_channel_has_gradients() {
        let (x, gate) = (hashed("x", &[2, 3, 3, 2]), hashed("gate", &[2, 3, 1, 1]));
        check_gradient(&x, |x| x.broadcast_mul(&gate), "x");
        check_gradient(&gate, |gate| x.broadcast_mul(gate), "gate");
    }
}
