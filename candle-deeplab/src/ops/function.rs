//! The activation functions and their slopes, number by number, for loops of the CPU's kernels.

use super::simd::{Float, vectorised};

/// An activation function. NaN stays NaN: a run that has diverged must not look healthy.
pub(super) trait Function {
    /// Its value at `z`.
    fn value<T: Float>(z: T) -> T;
    /// `slope · dy`, where the slope is that at `z`; at a bend, it is PyTorch's choice.
    fn gradient<T: Float>(z: T, dy: T) -> T;
}

/// The function that is left out.
pub(super) struct Identity;
pub(super) struct Relu;
pub(super) struct Relu6;
pub(super) struct HardSwish;
pub(super) struct HardSigmoid;

/// Evaluates an expression in which `$F` is the [`Function`] of an `Option<Activation>`.
macro_rules! for_function {
    ($activation:expr, |$F:ident| $body:expr) => {{
        use crate::graph::Activation;
        use crate::ops::function;
        match $activation {
            None => {
                type $F = function::Identity;
                $body
            }
            Some(Activation::Relu) => {
                type $F = function::Relu;
                $body
            }
            Some(Activation::Relu6) => {
                type $F = function::Relu6;
                $body
            }
            Some(Activation::HardSwish) => {
                type $F = function::HardSwish;
                $body
            }
            Some(Activation::HardSigmoid) => {
                type $F = function::HardSigmoid;
                $body
            }
        }
    }};
}
pub(super) use for_function;

impl Function for Identity {
    #[inline(always)]
    fn value<T: Float>(z: T) -> T {
        z
    }
    #[inline(always)]
    fn gradient<T: Float>(_: T, dy: T) -> T {
        dy
    }
}

impl Function for Relu {
    #[inline(always)]
    fn value<T: Float>(z: T) -> T {
        if z < T::zero() { T::zero() } else { z }
    }
    #[inline(always)]
    fn gradient<T: Float>(z: T, dy: T) -> T {
        if z <= T::zero() { T::zero() } else { dy }
    }
}

impl Function for Relu6 {
    #[inline(always)]
    fn value<T: Float>(z: T) -> T {
        clamped(z)
    }
    #[inline(always)]
    fn gradient<T: Float>(z: T, dy: T) -> T {
        if z <= T::zero() || z >= T::of(6.0) { T::zero() } else { dy }
    }
}

impl Function for HardSwish {
    #[inline(always)]
    fn value<T: Float>(z: T) -> T {
        z * clamped(z + T::of(3.0)) * T::of(1.0 / 6.0)
    }
    #[inline(always)]
    fn gradient<T: Float>(z: T, dy: T) -> T {
        let inner = (z * T::of(1.0 / 3.0) + T::of(0.5)) * dy;
        let above = if z >= T::of(3.0) { dy } else { inner };
        if z <= T::of(-3.0) { T::zero() } else { above }
    }
}

impl Function for HardSigmoid {
    #[inline(always)]
    fn value<T: Float>(z: T) -> T {
        clamped(z + T::of(3.0)) * T::of(1.0 / 6.0)
    }
    #[inline(always)]
    fn gradient<T: Float>(z: T, dy: T) -> T {
        if z <= T::of(-3.0) || z >= T::of(3.0) { T::zero() } else { dy * T::of(1.0 / 6.0) }
    }
}

/// `min(max(z, 0), 6)`
#[inline(always)]
fn clamped<T: Float>(z: T) -> T {
    let low = if z < T::zero() { T::zero() } else { z };
    if low > T::of(6.0) { T::of(6.0) } else { low }
}

vectorised! {
    /// `y ← f(x)`
    pub(super) fn values<T, F: Function>(x: &[T], y: &mut [T]) -> () {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = F::value(*x));
    }

    /// `dx ← f′(x) · dy`
    pub(super) fn gradients<T, F: Function>(x: &[T], dy: &[T], dx: &mut [T]) -> () {
        dx.iter_mut().zip(x.iter().zip(dy)).for_each(|(dx, (x, dy))| *dx = F::gradient(*x, *dy));
    }
}
