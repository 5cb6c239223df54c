//! Batch normalisation, with stored statistics and with those of the batch, and its gradients.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::activation;
use super::composed::gradients_of;
use super::function::{Function, for_function};
use super::simd::{Float, LANES, moments, vectorised};
use super::slices::{by_channel, channel, check_gradient_shape, for_float, on_cpu, tensor, with_slices};
use crate::graph::Activation;

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

/// What a batch normalisation normalises with.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// Mean per channel: `[C]`.
    pub mean: Tensor,
    /// Variance per channel, `[C]`: the mean squared distance from the mean, which is biased as an estimate.
    pub variance: Tensor,
    /// How many values of a channel there are: N · H · W. With one value, the variance is 0, and an unbiased one does
    /// not exist.
    pub count: usize,
}

impl Statistics {
    /// The statistics of a batch `x` `[N, C, H, W]`, added up in f64.
    ///
    /// # Errors
    /// Where `x` has no values, or candle cannot compute on its device or type.
    pub fn of(x: &Tensor) -> Result<Self> {
        let (n, c, height, width) = x.dims4()?;
        let count = n * height * width;
        if count == 0 {
            bail!("batch norm: no values in {:?}", x.dims());
        }
        if !on_cpu(&[x]) {
            let mean = x.mean_keepdim((0, 2, 3))?;
            let variance = x.broadcast_sub(&mean)?.sqr()?.mean((0, 2, 3))?;
            return Ok(Self { mean: mean.reshape(c)?, variance, count });
        }
        let x = x.contiguous()?;
        for_float!(x.dtype(), |T| with_slices([&x], |[xs]: [&[T]; 1]| {
            let of = |of| mean_and_variance(channel(xs, c, height * width, of), count);
            let (mean, variance) = (0..c).into_par_iter().map(of).map(|(m, v)| (T::of(m), T::of(v))).unzip();
            Ok(Self { mean: tensor::<T>(mean, c)?, variance: tensor::<T>(variance, c)?, count })
        }))
    }
}

fn mean_and_variance<'a, T: Float>(planes: impl Iterator<Item = &'a [T]>, count: usize) -> (f64, f64) {
    let add = |(sum, squares): (f64, f64), (more, more_squares)| (sum + more, squares + more_squares);
    let (sum, squares) = planes.map(|plane| moments(plane)).fold((0.0, 0.0), add);
    let mean = sum / count as f64;
    // Of one value, or of equal ones, rounding must not leave a negative variance. NaN stays NaN.
    let variance = squares / count as f64 - mean * mean;
    (mean, if variance < 0.0 { 0.0 } else { variance })
}

/// [`batch_norm`] with the statistics of `x` itself, followed by an activation, if any; and the statistics.
///
/// # Errors
/// Where the shapes do not fit each other, or there are no values.
pub fn batch_norm_train(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    activation: Option<Activation>,
) -> Result<(Tensor, Statistics)> {
    let (n, c, height, width) = x.dims4()?;
    let (area, count) = (height * width, n * height * width);
    if !on_cpu(&[x, gamma, beta]) || count == 0 {
        let statistics = Statistics::of(x)?;
        return Ok((batch_norm_with(x, gamma, beta, &statistics, eps, activation)?, statistics));
    }
    check_channels(c, [gamma, beta])?;
    let (x, gamma, beta) = (x.contiguous()?, gamma.contiguous()?, beta.contiguous()?);
    for_float!(x.dtype(), |T| with_slices([&x, &gamma, &beta], |[xs, gammas, betas]: [&[T]; 3]| {
        let mut y = vec![0.0; xs.len()];
        let (mut mean, mut variance) = (vec![0.0; c], vec![0.0; c]);
        // A channel at a time, so that its values are still in the cache when they are normalised.
        let statistics = mean.par_iter_mut().zip(&mut variance);
        let channels = by_channel(&mut y, c, area).into_par_iter().zip(statistics).enumerate();
        channels.for_each(|(of, (y, (mean, variance)))| {
            let (m, v) = mean_and_variance(channel(xs, c, area, of), count);
            (*mean, *variance) = (T::of(m), T::of(v));
            let line = Line::new(gammas[of], betas[of], *mean, *variance, eps);
            for_function!(activation, |F| {
                y.into_iter().zip(channel(xs, c, area, of)).for_each(|(y, x)| normalise::<T, F>(line, x, y));
            });
        });
        let statistics = Statistics { mean: tensor(mean, c)?, variance: tensor(variance, c)?, count };
        Ok((tensor(y, x.shape())?, statistics))
    }))
}

/// [`batch_norm`] with given statistics, followed by an activation, if any.
///
/// # Errors
/// Where the shapes do not fit each other.
pub fn batch_norm_with(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    statistics: &Statistics,
    eps: f64,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let Statistics { mean, variance, .. } = statistics;
    let (_, c, height, width) = x.dims4()?;
    let area = height * width;
    if !on_cpu(&[x, gamma, beta, mean, variance]) || x.elem_count() == 0 {
        return activated(&batch_norm(x, gamma, beta, mean, variance, eps)?, activation);
    }
    check_channels(c, [gamma, beta, mean, variance])?;
    let x = x.contiguous()?;
    let per_channel = [gamma, beta, mean, variance].map(Tensor::contiguous);
    let [gamma, beta, mean, variance] = per_channel;
    let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
    for_float!(x.dtype(), |T| with_slices([&x, &gamma, &beta, &mean, &variance], |[xs, g, b, m, v]: [&[T]; 5]| {
        let mut y = vec![0.0; xs.len()];
        y.par_chunks_mut(area).zip(xs.par_chunks(area)).enumerate().for_each(|(plane, (y, x))| {
            let of = plane % c;
            let line = Line::new(g[of], b[of], m[of], v[of], eps);
            for_function!(activation, |F| normalise::<T, F>(line, x, y));
        });
        tensor(y, x.shape())
    }))
}

/// The gradients `(dx, dgamma, dbeta)` of batch normalisation with an activation, if any, for the gradient `dy` of the
/// activated result. `frozen` says that the statistics are stored ones and do not depend on `x`; otherwise they are
/// those of `x`.
///
/// # Errors
/// Where the shapes do not fit each other.
#[expect(clippy::too_many_arguments, reason = "all that the result depends on")]
pub fn batch_norm_backward(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    statistics: &Statistics,
    eps: f64,
    activation: Option<Activation>,
    dy: &Tensor,
    frozen: bool,
) -> Result<(Tensor, Tensor, Tensor)> {
    let Statistics { mean, variance, count } = statistics;
    let (_, c, height, width) = x.dims4()?;
    let area = height * width;
    check_gradient_shape(dy, x.dims())?;
    if !on_cpu(&[x, gamma, beta, mean, variance, dy]) || x.elem_count() == 0 {
        let [dx, dgamma, dbeta] = gradients_of([x, gamma, beta], dy, |[x, gamma, beta]| {
            composed(x, (gamma, beta), statistics, eps, activation, frozen)
        })?;
        return Ok((dx, dgamma, dbeta));
    }
    check_channels(c, [gamma, beta, mean, variance])?;
    let (x, dy) = (x.contiguous()?, dy.contiguous()?);
    let (gamma, beta) = (gamma.contiguous()?, beta.contiguous()?);
    let (mean, variance) = (mean.contiguous()?, variance.contiguous()?);
    for_float!(x.dtype(), |T| with_slices(
        [&x, &dy, &gamma, &beta, &mean, &variance],
        |[xs, dys, g, b, m, v]: [&[T]; 6]| {
            let mut dx = vec![0.0; xs.len()];
            let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.0; c]);
            let parameters = dgamma.par_iter_mut().zip(&mut dbeta);
            let channels = by_channel(&mut dx, c, area).into_par_iter().zip(parameters).enumerate();
            channels.for_each(|(of, (dx, (dgamma, dbeta)))| {
                let line = Line::new(g[of], b[of], m[of], v[of], eps);
                let planes = || channel(xs, c, area, of).zip(channel(dys, c, area, of));
                for_function!(activation, |F| {
                    let sums = planes().map(|(x, dy)| gradient_sums::<T, F>(line, x, dy));
                    let (sum, moment) = sums.fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
                    let deviation = 1.0 / (v[of].wide() + eps).sqrt();
                    (*dgamma, *dbeta) = (T::of(moment * deviation), T::of(sum));
                    // What dx loses because the mean and the variance depend on x, too.
                    let (constant, slope) = match frozen {
                        true => (0.0, 0.0),
                        false => (sum / *count as f64, moment * deviation * deviation / *count as f64),
                    };
                    let minus = (T::of(-constant), T::of(-slope));
                    dx.into_iter().zip(planes()).for_each(|(dx, (x, dy))| {
                        input_gradient::<T, F>(line, minus, x, dy, dx);
                    });
                });
            });
            Ok((tensor(dx, x.shape())?, tensor(dgamma, c)?, tensor(dbeta, c)?))
        }
    ))
}

/// Batch normalisation by candle's operations, with a gradient.
fn composed(
    x: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    statistics: &Statistics,
    eps: f64,
    activation: Option<Activation>,
    frozen: bool,
) -> Result<Tensor> {
    let y = if frozen {
        batch_norm(x, gamma, beta, &statistics.mean, &statistics.variance, eps)?
    } else {
        let mean = x.mean_keepdim((0, 2, 3))?;
        let centred = x.broadcast_sub(&mean)?;
        let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?;
        let per_channel = |t: &Tensor| t.reshape((1, (), 1, 1));
        let normal = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
        normal.broadcast_mul(&per_channel(gamma)?)?.broadcast_add(&per_channel(beta)?)?
    };
    activated(&y, activation)
}

fn activated(x: &Tensor, of: Option<Activation>) -> Result<Tensor> {
    of.map_or_else(|| Ok(x.clone()), |of| activation::composed(x, of))
}

fn check_channels<const N: usize>(channels: usize, per_channel: [&Tensor; N]) -> Result<()> {
    match per_channel.iter().find(|t| t.dims() != [channels]) {
        Some(t) => bail!("batch norm: {:?} for {channels} channels", t.dims()),
        None => Ok(()),
    }
}

/// `(x − mean) · scale + shift`: the normalisation of one channel.
#[derive(Debug, Clone, Copy)]
struct Line<T> {
    mean: T,
    scale: T,
    shift: T,
}

impl<T: Float> Line<T> {
    fn new(gamma: T, beta: T, mean: T, variance: T, eps: f64) -> Self {
        Self { mean, scale: T::of(gamma.wide() / (variance.wide() + eps).sqrt()), shift: beta }
    }

    #[inline(always)]
    fn at<const FUSED: bool>(self, x: T) -> T {
        (x - self.mean).times_plus::<FUSED>(self.scale, self.shift)
    }
}

vectorised! {
    /// `y ← f(line(x))`
    fn normalise<T, F: Function>(line: Line<T>, x: &[T], y: &mut [T]) -> () {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = F::value(line.at::<FUSED>(*x)));
    }

    /// `(Σ dz, Σ dz · (x − mean))`, where `dz` is the gradient before the activation.
    fn gradient_sums<T, F: Function>(line: Line<T>, x: &[T], dy: &[T]) -> (f64, f64) {
        let ((xs, x_rest), (dys, dy_rest)) = (x.as_chunks::<LANES>(), dy.as_chunks::<LANES>());
        let (mut sums, mut moments) = ([0f64; LANES], [0f64; LANES]);
        for (x, dy) in xs.iter().zip(dys) {
            for i in 0..LANES {
                let dz = F::gradient(line.at::<FUSED>(x[i]), dy[i]).wide();
                sums[i] += dz;
                moments[i] = dz.times_plus::<FUSED>((x[i] - line.mean).wide(), moments[i]);
            }
        }
        let mut total = (sums.iter().sum::<f64>(), moments.iter().sum::<f64>());
        for (x, dy) in x_rest.iter().zip(dy_rest) {
            let dz = F::gradient(line.at::<FUSED>(*x), *dy).wide();
            total = (total.0 + dz, total.1 + dz * (*x - line.mean).wide());
        }
        total
    }

    /// `dx ← (dz + minus.0 + (x − mean) · minus.1) · scale`
    fn input_gradient<T, F: Function>(line: Line<T>, minus: (T, T), x: &[T], dy: &[T], dx: &mut [T]) -> () {
        dx.iter_mut().zip(x.iter().zip(dy)).for_each(|(dx, (x, dy))| {
            let dz = F::gradient(line.at::<FUSED>(*x), *dy);
            *dx = (*x - line.mean).times_plus::<FUSED>(minus.1, dz + minus.0) * line.scale;
        });
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::testing::{check_gradient, check_gradient_of, hashed, max_abs_diff};
    use super::*;

    const ACTIVATIONS: [Option<Activation>; 5] = [
        None,
        Some(Activation::Relu),
        Some(Activation::Relu6),
        Some(Activation::HardSwish),
        Some(Activation::HardSigmoid),
    ];

    /// Values of several pieces of each activation, with a mean far from nought.
    fn inputs(shape: &[usize]) -> [Tensor; 3] {
        let x = ((hashed("x", shape) * 5.0).unwrap() + 20.0).unwrap();
        let of = |name, scale: f64| (hashed(name, &shape[1..2]) * scale).unwrap();
        [x, (of("gamma", 4.0) + 0.5).unwrap(), of("beta", 3.0)]
    }

    fn stored(channels: usize) -> Statistics {
        let mean = (hashed("mean", &[channels]) + 19.0).unwrap();
        Statistics { mean, variance: (hashed("variance", &[channels]) + 1.5).unwrap(), count: 0 }
    }

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

    #[test]
    fn the_statistics_of_a_batch_have_gradients_too() {
        for activation in ACTIVATIONS {
            for shape in [[2, 3, 3, 2], [1, 2, 5, 7]] {
                let [x, gamma, beta] = inputs(&shape);
                let train = |x: &Tensor, gamma: &Tensor, beta: &Tensor| {
                    Ok(batch_norm_train(x, gamma, beta, 1e-3, activation)?.0)
                };
                let (y, statistics) = batch_norm_train(&x, &gamma, &beta, 1e-3, activation).unwrap();
                let dy = hashed("dy", y.dims());
                let (dx, dgamma, dbeta) =
                    batch_norm_backward(&x, &gamma, &beta, &statistics, 1e-3, activation, &dy, false).unwrap();
                check_gradient_of(&x, &dy, &dx, |x| train(x, &gamma, &beta), "x");
                check_gradient_of(&gamma, &dy, &dgamma, |gamma| train(&x, gamma, &beta), "gamma");
                check_gradient_of(&beta, &dy, &dbeta, |beta| train(&x, &gamma, beta), "beta");
            }
        }
    }

    #[test]
    fn the_kernels_and_candles_operations_agree() {
        for activation in ACTIVATIONS {
            for (frozen, shape) in [(true, [2, 3, 5, 7]), (false, [2, 3, 5, 7]), (false, [3, 2, 1, 1])] {
                let [x, gamma, beta] = inputs(&shape);
                let dy = hashed("dy", &shape);
                let statistics = if frozen { stored(shape[1]) } else { Statistics::of(&x).unwrap() };
                let reference =
                    |[x, gamma, beta]: [&Tensor; 3]| composed(x, (gamma, beta), &statistics, 1e-3, activation, frozen);
                let y = batch_norm_with(&x, &gamma, &beta, &statistics, 1e-3, activation).unwrap();
                assert!(max_abs_diff(&y, &reference([&x, &gamma, &beta]).unwrap()) < 1e-10);
                let ours = batch_norm_backward(&x, &gamma, &beta, &statistics, 1e-3, activation, &dy, frozen).unwrap();
                let [dx, dgamma, dbeta] = gradients_of([&x, &gamma, &beta], &dy, reference).unwrap();
                for (ours, wanted) in [(ours.0, dx), (ours.1, dgamma), (ours.2, dbeta)] {
                    assert!(max_abs_diff(&ours, &wanted) < 1e-9, "{activation:?}, frozen: {frozen}");
                }
            }
        }
    }

    /// In f32, a mean far from nought must not spoil the variance.
    #[test]
    fn f32_is_as_good_as_f64() {
        let [x, gamma, beta] = inputs(&[2, 3, 37, 41]).map(|t| t.to_dtype(DType::F32).unwrap());
        let wide = [&x, &gamma, &beta].map(|t| t.to_dtype(DType::F64).unwrap());
        let dy = hashed("dy", x.dims()).to_dtype(DType::F32).unwrap();
        let (y, statistics) = batch_norm_train(&x, &gamma, &beta, 1e-5, Some(Activation::Relu)).unwrap();
        let (wide_y, wide_statistics) =
            batch_norm_train(&wide[0], &wide[1], &wide[2], 1e-5, Some(Activation::Relu)).unwrap();
        let close = |a: &Tensor, b: &Tensor, tolerance| {
            let difference = max_abs_diff(&a.to_dtype(DType::F64).unwrap(), b);
            assert!(difference < tolerance, "{difference}");
        };
        close(&y, &wide_y, 1e-5);
        close(&statistics.mean, &wide_statistics.mean, 2e-6);
        close(&statistics.variance, &wide_statistics.variance, 2e-6);
        let (dx, dgamma, dbeta) =
            batch_norm_backward(&x, &gamma, &beta, &statistics, 1e-5, Some(Activation::Relu), &dy, false).unwrap();
        let dy = dy.to_dtype(DType::F64).unwrap();
        let [x, gamma, beta] = wide;
        let wide = batch_norm_backward(&x, &gamma, &beta, &wide_statistics, 1e-5, Some(Activation::Relu), &dy, false);
        let wide = wide.unwrap();
        close(&dx, &wide.0, 1e-5);
        close(&dgamma, &wide.1, 1e-4);
        close(&dbeta, &wide.2, 1e-4);
    }

    #[test]
    fn one_value_a_channel_is_its_own_mean() {
        let x = hashed("x", &[1, 3, 1, 1]);
        let [_, gamma, beta] = inputs(&[1, 3, 1, 1]);
        let (y, statistics) = batch_norm_train(&x, &gamma, &beta, 1e-5, None).unwrap();
        assert_eq!(statistics.count, 1);
        assert_eq!(statistics.variance.to_vec1::<f64>().unwrap(), [0.0; 3]);
        assert_eq!(max_abs_diff(&y.flatten_all().unwrap(), &beta), 0.0);
        let (dx, _, dbeta) = batch_norm_backward(&x, &gamma, &beta, &statistics, 1e-5, None, &x, false).unwrap();
        assert_eq!(max_abs_diff(&dx, &x.zeros_like().unwrap()), 0.0);
        assert_eq!(max_abs_diff(&dbeta, &x.flatten_all().unwrap()), 0.0);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let [x, gamma, beta] = inputs(&[2, 3, 2, 2]);
        let narrow = hashed("narrow", &[2]);
        assert!(batch_norm_train(&x, &narrow, &beta, 1e-5, None).is_err());
        let statistics = Statistics::of(&x).unwrap();
        assert!(batch_norm_backward(&x, &gamma, &beta, &statistics, 1e-5, None, &narrow, false).is_err());
        let empty = Tensor::zeros((0, 3, 2, 2), DType::F64, &Device::Cpu).unwrap();
        assert!(batch_norm_train(&empty, &gamma, &beta, 1e-5, None).is_err());
    }

    #[test]
    fn nan_stays_nan() {
        let [x, gamma, beta] = inputs(&[1, 1, 2, 9]);
        let broken = Tensor::cat(&[&x, &(&x * f64::NAN).unwrap()], 0).unwrap();
        let (y, statistics) = batch_norm_train(&broken, &gamma, &beta, 1e-5, Some(Activation::Relu6)).unwrap();
        assert!(y.flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().all(|y| y.is_nan()));
        assert!(statistics.variance.to_vec1::<f64>().unwrap()[0].is_nan());
    }
}
