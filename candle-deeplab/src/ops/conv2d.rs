//! Convolution, by the fastest route that also has a correct gradient.

use candle_core::{Result, Tensor};

use super::{depthwise::depthwise_conv2d, element, reach};
use crate::graph::{Conv, Window};

/// Convolution of `x` `[N, C, H, W]` with `kernel` `[out, C / groups, kh, kw]`; the result is `[N, out, h, w]`, with
/// the sizes of the vertical and horizontal windows.
///
/// Depthwise convolutions go to our own kernel and 1×1 ones to candle's matmul. The others go to candle's convolution,
/// which gets exactly the elements that it reads: its backward pass derives the input's size from the output's height,
/// and is wrong where rows or columns are left over.
///
/// # Errors
/// Where the shapes do not fit each other.
pub fn conv2d(x: &Tensor, kernel: &Tensor, groups: usize, (v, h): (Window, Window)) -> Result<Tensor> {
    let (_, channels, _, _) = x.dims4()?;
    let (out, per_group, kh, kw) = kernel.dims4()?;
    let depthwise = Conv { groups, ..Conv::dense(out, v.kernel) }.is_depthwise(channels);
    if depthwise && per_group == 1 {
        return depthwise_conv2d(x, kernel, (v, h));
    }
    if groups == 1 && (kh, kw) == (1, 1) && v.before + v.after + h.before + h.after == 0 {
        return pointwise(x, kernel, (v, h));
    }
    if v.stride != h.stride || v.dilation != h.dilation {
        candle_core::bail!("conv2d takes one stride and one dilation for both axes, got {v:?} and {h:?}");
    }
    let x = reach(&reach(x, 2, &v, 0.0)?, 3, &h, 0.0)?.contiguous()?;
    x.conv2d(&kernel.contiguous()?, 0, v.stride, v.dilation, groups)
}

/// A 1×1 convolution as one matmul per image: `[out, C] × [C, h·w]`.
fn pointwise(x: &Tensor, kernel: &Tensor, (v, h): (Window, Window)) -> Result<Tensor> {
    let (n, channels, _, _) = x.dims4()?;
    let out = kernel.dim(0)?;
    let x = element(&element(x, 2, &v, 0)?, 3, &h, 0)?.contiguous()?.reshape((n, channels, v.output * h.output))?;
    let kernel = kernel.reshape((1, out, channels))?;
    kernel.broadcast_matmul(&x)?.reshape((n, out, v.output, h.output))
}

#[cfg(test)]
mod tests {
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
}
