//! Convolution and its gradients, by the fastest route on the CPU, and composed from candle's operations elsewhere, except
//! for depthwise convolutions on a GPU, if a variable asks for their kernels.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::composed::{composed_conv2d, gradients_of};
#[cfg(feature = "cuda")]
use super::cuda;
use super::dense::Dense;
use super::depthwise::Depthwise;
use super::simd::Float;
use super::slices::{check_gradient_shape, for_float, on_cpu, tensor, with_slices};
use crate::graph::Window;

/// Convolution of `x` `[N, C, H, W]` with `kernel` `[out, C / groups, kh, kw]`; the result is `[N, out, h, w]`, with
/// the sizes of the vertical and horizontal windows.
///
/// # Errors
/// Where the shapes do not fit each other.
pub fn conv2d(x: &Tensor, kernel: &Tensor, groups: usize, windows: (Window, Window)) -> Result<Tensor> {
    let op = Conv2d::new(x, kernel, groups, windows)?;
    if on_cpu(&[x, kernel]) || op.is_for_gpu(&[x, kernel])? {
        x.contiguous()?.apply_op2(&kernel.contiguous()?, op)
    } else {
        composed_conv2d(x, kernel, groups, windows)
    }
}

/// The gradients of [`conv2d`] for the gradient `dy` of its result: that of `x`, if `input_gradient` asks for it, and
/// that of the kernel.
///
/// # Errors
/// Where the shapes do not fit each other.
pub fn conv2d_backward(
    x: &Tensor,
    kernel: &Tensor,
    groups: usize,
    windows: (Window, Window),
    dy: &Tensor,
    input_gradient: bool,
) -> Result<(Option<Tensor>, Tensor)> {
    let op = Conv2d::new(x, kernel, groups, windows)?;
    check_gradient_shape(dy, &[x.dim(0)?, op.outputs, op.v.output, op.h.output])?;
    #[cfg(feature = "cuda")]
    if let (true, Route::Depthwise(op)) = (op.is_for_gpu(&[x, kernel, dy])?, op.route(x.dims4()?.into())) {
        let (x, kernel, dy) = (x.contiguous()?, kernel.contiguous()?, dy.contiguous()?);
        return cuda::backward(&op, [&x, &kernel, &dy], input_gradient);
    }
    if !on_cpu(&[x, kernel, dy]) {
        let [dx, dk] = gradients_of([x, kernel], dy, |[x, kernel]| composed_conv2d(x, kernel, groups, windows))?;
        return Ok((input_gradient.then_some(dx), dk));
    }
    let (x, kernel, dy) = (x.contiguous()?, kernel.contiguous()?, dy.contiguous()?);
    for_float!(x.dtype(), |T| {
        let (dx, dk) = with_slices([&x, &kernel, &dy], |[xs, ks, dys]| {
            Ok(op.backward::<T>(x.dims4()?, (xs, ks, dys), input_gradient))
        })?;
        let dx = dx.map(|dx| tensor(dx, x.shape())).transpose()?;
        Ok((dx, tensor(dk, kernel.shape())?))
    })
}

/// `(x, kernel) → y`, whose shapes fit each other.
#[derive(Debug, Clone, Copy)]
struct Conv2d {
    groups: usize,
    outputs: usize,
    v: Window,
    h: Window,
}

/// The ways to compute a convolution.
enum Route {
    Depthwise(Depthwise),
    Dense(Dense),
}

impl Conv2d {
    fn new(x: &Tensor, kernel: &Tensor, groups: usize, (v, h): (Window, Window)) -> Result<Self> {
        let ((_, channels, _, _), (outputs, per_group, kh, kw)) = (x.dims4()?, kernel.dims4()?);
        let fits = groups > 0 && groups.checked_mul(per_group) == Some(channels) && outputs % groups == 0;
        if !fits || (kh, kw) != (v.kernel, h.kernel) || kernel.elem_count() == 0 {
            bail!("conv2d: {:?} in {groups} groups with {:?} and windows {v:?}, {h:?}", x.dims(), kernel.dims());
        }
        Ok(Self { groups, outputs, v, h })
    }

    /// Whether kernels for a GPU compute it from these tensors, of which the first is `x`.
    fn is_for_gpu(&self, tensors: &[&Tensor]) -> Result<bool> {
        #[cfg(feature = "cuda")]
        if matches!(self.route(tensors[0].dims4()?.into()), Route::Depthwise(_)) {
            return Ok(cuda::serves(tensors));
        }
        let _ = tensors;
        Ok(false)
    }

    fn route(&self, [images, channels, rows, columns]: [usize; 4]) -> Route {
        let Self { groups, outputs, v, h } = *self;
        if groups == channels && outputs == channels {
            return Route::Depthwise(Depthwise { channels, rows, columns, v, h });
        }
        let (inputs, outputs) = (channels / groups, outputs / groups);
        Route::Dense(Dense { images, groups, inputs, outputs, rows, columns, v, h })
    }

    fn forward<T: Float>(&self, dims: [usize; 4], x: &[T], kernel: &[T]) -> Vec<T> {
        match self.route(dims) {
            Route::Depthwise(op) => op.forward(x, kernel),
            Route::Dense(op) => op.forward(x, kernel),
        }
    }

    fn backward<T: Float>(
        &self,
        (n, c, rows, columns): (usize, usize, usize, usize),
        (x, kernel, dy): (&[T], &[T], &[T]),
        input: bool,
    ) -> (Option<Vec<T>>, Vec<T>) {
        match self.route([n, c, rows, columns]) {
            Route::Depthwise(op) => op.backward(x, kernel, dy, input),
            Route::Dense(op) => (input.then(|| op.input_gradient(dy, kernel)), op.kernel_gradient(x, dy)),
        }
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (Some(x), Some(kernel)) = (l1.contiguous_offsets(), l2.contiguous_offsets()) else {
            bail!("conv2d takes contiguous tensors")
        };
        let (n, c, rows, columns) = l1.shape().dims4()?;
        let shape = Shape::from_dims(&[n, self.outputs, self.v.output, self.h.output]);
        for_float!(s1.dtype(), |T| {
            let (x, kernel) = (&s1.as_slice::<T>()?[x.0..x.1], &s2.as_slice::<T>()?[kernel.0..kernel.1]);
            let y = self.forward::<T>([n, c, rows, columns], x, kernel);
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(y), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let (n, c, rows, columns) = l1.shape().dims4()?;
        let Route::Depthwise(op) = self.route([n, c, rows, columns]) else {
            bail!("conv2d: there are kernels for a GPU only for depthwise convolutions")
        };
        let shape = Shape::from_dims(&[n, self.outputs, self.v.output, self.h.output]);
        Ok((cuda::forward(&op, (s1, l1), (s2, l2))?, shape))
    }

    fn bwd(&self, x: &Tensor, kernel: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dk) = conv2d_backward(x, kernel, self.groups, (self.v, self.h), dy, true)?;
        Ok((dx, Some(dk)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use proptest::prelude::*;

    use super::super::testing::{check_gradient, hashed, max_abs_diff};
    use super::*;
    use crate::graph::Padding;

    /// The definition of a convolution, element by element.
    fn slow(x: &Tensor, kernel: &Tensor, groups: usize, (v, h): (Window, Window)) -> Tensor {
        let (n, c, rows, cols) = x.dims4().unwrap();
        let (out, per_group, kh, kw) = kernel.dims4().unwrap();
        let xs: Vec<f64> = x.flatten_all().unwrap().to_vec1().unwrap();
        let ks: Vec<f64> = kernel.flatten_all().unwrap().to_vec1().unwrap();
        let mut result = Vec::new();
        for (b, o, oy, ox) in indices(n, out, v.output, h.output) {
            let mut sum = 0.0;
            for (i, ky, kx) in (0..per_group).flat_map(|i| (0..kh).flat_map(move |y| (0..kw).map(move |x| (i, y, x)))) {
                let (iy, ix) = (oy * v.stride + ky * v.dilation, ox * h.stride + kx * h.dilation);
                if iy < v.before || ix < h.before || iy - v.before >= rows || ix - h.before >= cols {
                    continue;
                }
                let channel = o / (out / groups) * per_group + i;
                let at = ((b * c + channel) * rows + iy - v.before) * cols + ix - h.before;
                sum += xs[at] * ks[((o * per_group + i) * kh + ky) * kw + kx];
            }
            result.push(sum);
        }
        Tensor::from_vec(result, (n, out, v.output, h.output), x.device()).unwrap()
    }

    fn indices(a: usize, b: usize, c: usize, d: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
    }

    /// A convolution to test: its input, kernel, groups and windows.
    #[derive(Debug)]
    struct Case {
        x: Tensor,
        kernel: Tensor,
        groups: usize,
        windows: (Window, Window),
    }

    /// Strides, rates, both paddings, odd and even sizes, one-pixel maps and rates larger than the map.
    fn cases() -> impl Iterator<Item = Case> {
        let shapes = [1, 2, 4].into_iter().flat_map(|groups| [(5, 4), (1, 1), (2, 7)].map(|size| (groups, size)));
        shapes.flat_map(|(groups, (rows, cols))| {
            let kinds = [(1, 1, 1), (1, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 2), (3, 2, 3), (3, 1, 12)];
            kinds.into_iter().flat_map(move |(kernel, stride, dilation)| {
                [Padding::Symmetric(kernel / 2 * dilation), Padding::Same].map(|padding| Case {
                    x: hashed("x", &[2, 4, rows, cols]),
                    kernel: hashed("kernel", &[4, 4 / groups, kernel, kernel]),
                    groups,
                    windows: [rows, cols]
                        .map(|side| Window::new(side, kernel, stride, dilation, padding).unwrap())
                        .into(),
                })
            })
        })
    }

    #[test]
    fn every_route_computes_the_definition() {
        for Case { x, kernel, groups, windows } in cases() {
            let fast = conv2d(&x, &kernel, groups, windows).unwrap();
            assert!(max_abs_diff(&fast, &slow(&x, &kernel, groups, windows)) < 1e-12, "groups {groups}, {windows:?}");
        }
    }

    #[test]
    fn every_route_has_a_gradient() {
        for Case { x, kernel, groups, windows } in cases() {
            let label = format!("groups {groups}, {windows:?}");
            check_gradient(&x, |x| conv2d(x, &kernel, groups, windows), &label);
            check_gradient(&kernel, |kernel| conv2d(&x, kernel, groups, windows), &label);
        }
    }

    /// Random convolutions: sizes up to some vectors, so that loops have whole vectors and rests.
    fn random() -> impl Strategy<Value = Case> {
        let sizes = (1..3usize, 1..40usize, 1..70usize, 1..6usize, 1..4usize, prop::sample::select(vec![1, 2, 3, 12]));
        let channels = prop::sample::select(vec![(1, 3, 5), (1, 17, 2), (2, 4, 6), (3, 3, 3), (5, 5, 5), (2, 2, 4)]);
        (sizes, channels, any::<bool>()).prop_map(|(sizes, (groups, inputs, outputs), same)| {
            let (n, rows, columns, kernel, stride, dilation) = sizes;
            // With this padding, at least one window fits.
            let padding = if same { Padding::Same } else { Padding::Symmetric(kernel * dilation / 2) };
            let window = |side| Window::new(side, kernel, stride, dilation, padding).unwrap();
            Case {
                x: hashed("x", &[n, inputs, rows, columns]),
                kernel: hashed("kernel", &[outputs, inputs / groups, kernel, kernel]),
                groups,
                windows: (window(rows), window(columns)),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        /// The kernels in f32 against candle's operations in f64.
        #[test]
        fn f32_agrees_with_candles_operations_in_f64(Case { x, kernel, groups, windows } in random()) {
            let narrow = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
            let close = |fast: &Tensor, exact: &Tensor| {
                let largest = exact.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
                max_abs_diff(&fast.to_dtype(DType::F64).unwrap(), exact) <= 1e-5 * largest.max(1.0)
            };
            let y = conv2d(&narrow(&x), &narrow(&kernel), groups, windows).unwrap();
            prop_assert!(close(&y, &composed_conv2d(&x, &kernel, groups, windows).unwrap()));
            let dy = hashed("dy", y.dims());
            let exact = gradients_of([&x, &kernel], &dy, |[x, kernel]| composed_conv2d(x, kernel, groups, windows));
            let [dx, dk] = exact.unwrap();
            let (fast_dx, fast_dk) =
                conv2d_backward(&narrow(&x), &narrow(&kernel), groups, windows, &narrow(&dy), true).unwrap();
            prop_assert!(close(&fast_dx.unwrap(), &dx) && close(&fast_dk, &dk));
            let (none, same) =
                conv2d_backward(&narrow(&x), &narrow(&kernel), groups, windows, &narrow(&dy), false).unwrap();
            prop_assert!(none.is_none() && max_abs_diff(&same, &fast_dk) == 0.0);
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let window = Window::new(5, 3, 1, 1, Padding::Same).unwrap();
        let (x, kernel) = (hashed("x", &[1, 4, 5, 5]), hashed("kernel", &[4, 4, 3, 3]));
        for groups in [0, 2, 3] {
            assert!(conv2d(&x, &kernel, groups, (window, window)).is_err(), "{groups} groups");
        }
        assert!(conv2d(&x, &hashed("kernel", &[4, 4, 1, 3]), 1, (window, window)).is_err());
        let dy = hashed("dy", &[1, 4, 5, 4]);
        assert!(conv2d_backward(&x, &kernel, 1, (window, window), &dy, true).is_err());
    }
}
