//! Shared helpers of the operations' tests: reproducible tensors and a numeric gradient check, in f64.

use candle_core::{DType, Device, Result, Tensor, Var};

/// Values in (−1, 1) from a splitmix64 stream seeded by the name: different for every name, the same on every run.
pub(crate) fn hashed(name: &str, shape: &[usize]) -> Tensor {
    let mut state =
        name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub(super) fn max_abs_diff(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let diff = (a - b).unwrap().abs().unwrap().to_dtype(DType::F64).unwrap();
    diff.flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// Compares the gradient that candle's autograd finds of a weighted sum of `f`'s results with central differences, for
/// every element of `x`.
pub(super) fn check_gradient(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>, label: &str) {
    let weights = hashed("weights", f(x).unwrap().dims());
    let var = Var::from_tensor(x).unwrap();
    let value = (f(&var).unwrap() * &weights).unwrap().sum_all().unwrap();
    let gradient = value.backward().unwrap().remove(&var).expect("a gradient");
    check_gradient_of(x, &weights, &gradient, f, label);
}

/// Compares a gradient of `Σ weights · f(x)` with central differences, for every element of `x`.
pub(super) fn check_gradient_of(
    x: &Tensor,
    weights: &Tensor,
    gradient: &Tensor,
    f: impl Fn(&Tensor) -> Result<Tensor>,
    label: &str,
) {
    const STEP: f64 = 1e-5;
    assert_eq!(gradient.dims(), x.dims(), "{label}");
    let value = |x: &Tensor| (f(x).unwrap() * weights).unwrap().sum_all().unwrap();
    let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();

    let values: Vec<f64> = x.flatten_all().unwrap().to_vec1().unwrap();
    for (i, analytic) in gradient.iter().enumerate() {
        let at = |delta: f64| {
            let mut moved = values.clone();
            moved[i] += delta;
            value(&Tensor::from_vec(moved, x.dims(), x.device()).unwrap()).to_scalar::<f64>().unwrap()
        };
        let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        assert!((analytic - numeric).abs() < 1e-6, "{label}: element {i}: {analytic} against {numeric} by differences");
    }
}
