//! Batch normalisation with stored statistics.

use candle_core::{Result, Tensor};

/// `(x − mean) / √(variance + eps) · gamma + beta` per channel of `x` `[N, C, H, W]`, with the stored moving
/// statistics, as in inference and in training with frozen batch norm.
///
/// # Errors
/// Where the shapes do not fit each other.
pub fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let scale = (gamma / (variance + eps)?.sqrt()?)?;
    let shift = (beta - (mean * &scale)?)?;
    let per_channel = |t: Tensor| t.reshape((1, (), 1, 1));
    x.broadcast_mul(&per_channel(scale)?)?.broadcast_add(&per_channel(shift)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, hashed};
    use super::*;

    #[test]
    fn it_has_a_gradient() {
        let x = hashed("x", &[2, 3, 2, 2]);
        let of = |name| hashed(name, &[3]);
        let variance = (of("variance") + 1.5).unwrap();
        let (gamma, beta, mean) = (of("gamma"), of("beta"), of("mean"));
        check_gradient(&x, |x| batch_norm(x, &gamma, &beta, &mean, &variance, 1e-3), "x");
        check_gradient(&gamma, |gamma| batch_norm(&x, gamma, &beta, &mean, &variance, 1e-3), "gamma");
        check_gradient(&beta, |beta| batch_norm(&x, &gamma, beta, &mean, &variance, 1e-3), "beta");
    }
}
