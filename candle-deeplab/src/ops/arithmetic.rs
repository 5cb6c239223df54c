//! Sums and products of feature maps with their gradients, the mean over a map, and joining maps. Candle's run on one
//! thread.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::simd::{add_constant, dot, product_of, scaled, sum, sum_of};
use super::slices::{channel, check_gradient_shape, for_float, on_cpu, tensor, with_slices};

/// Values that a task of a thread handles.
const TASK: usize = 1 << 14;

/// The sum of two tensors of one shape.
///
/// # Errors
/// Where the shapes differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !on_cpu(&[a, b]) || a.dims() != b.dims() {
        return a + b;
    }
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    for_float!(a.dtype(), |T| with_slices([&a, &b], |[xs, ys]: [&[T]; 2]| {
        let mut out = vec![0.0; xs.len()];
        let tasks = out.par_chunks_mut(TASK).zip(xs.par_chunks(TASK).zip(ys.par_chunks(TASK)));
        tasks.for_each(|(out, (x, y))| sum_of(out, x, y));
        tensor(out, a.shape())
    }))
}

/// `x + bias` for a bias `[C]` of the channels of `x` `[N, C, H, W]`.
///
/// # Errors
/// Where the shapes do not fit each other.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (_, c, height, width) = x.dims4()?;
    if !on_cpu(&[x, bias]) || bias.dims() != [c] || x.elem_count() == 0 {
        return x.broadcast_add(&bias.reshape((1, (), 1, 1))?);
    }
    let (x, bias, area) = (x.contiguous()?, bias.contiguous()?, height * width);
    for_float!(x.dtype(), |T| with_slices([&x, &bias], |[xs, bs]: [&[T]; 2]| {
        let mut out = xs.to_vec();
        let planes = out.par_chunks_mut(area).enumerate();
        planes.with_min_len(TASK.div_ceil(area)).for_each(|(plane, out)| add_constant(out, bs[plane % c]));
        tensor(out, x.shape())
    }))
}

/// The gradient of [`add_bias`] for the bias: the sum of `dy` `[N, C, H, W]` over all but the channels, added up in
/// f64.
///
/// # Errors
/// Where candle cannot compute on the device or type.
pub fn bias_backward(dy: &Tensor) -> Result<Tensor> {
    let (_, c, height, width) = dy.dims4()?;
    if !on_cpu(&[dy]) || dy.elem_count() == 0 {
        return dy.sum((0, 2, 3));
    }
    let (dy, area) = (dy.contiguous()?, height * width);
    for_float!(dy.dtype(), |T| with_slices([&dy], |[dys]: [&[T]; 1]| {
        let of = |of| channel(dys, c, area, of).map(sum).sum::<f64>() as T;
        tensor((0..c).into_par_iter().map(of).collect(), c)
    }))
}

/// The product of two tensors of one shape, or of `x` `[N, C, H, W]` and one number `[N, C, 1, 1]` for each channel.
///
/// # Errors
/// Where the shapes do not fit each other.
pub fn multiply(x: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let Some(area) = gated_area(x, gate).filter(|_| on_cpu(&[x, gate])) else { return x.broadcast_mul(gate) };
    let (x, gate) = (x.contiguous()?, gate.contiguous()?);
    for_float!(x.dtype(), |T| with_slices([&x, &gate], |[xs, gates]: [&[T]; 2]| {
        tensor(gated::<T>(xs, gates, area), x.shape())
    }))
}

/// The gradients `(dx, dgate)` of [`multiply`] for the gradient `dy` of its result.
///
/// # Errors
/// Where the shapes do not fit each other.
pub fn multiply_backward(x: &Tensor, gate: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
    check_gradient_shape(dy, x.dims())?;
    let Some(area) = gated_area(x, gate).filter(|_| on_cpu(&[x, gate, dy])) else {
        let dgate = (dy * x)?;
        let dgate = if gate.dims() == x.dims() { dgate } else { dgate.sum_keepdim((2, 3))? };
        check_gradient_shape(&dgate, gate.dims())?;
        return Ok((dy.broadcast_mul(gate)?, dgate));
    };
    let (x, gate, dy) = (x.contiguous()?, gate.contiguous()?, dy.contiguous()?);
    for_float!(x.dtype(), |T| with_slices([&x, &gate, &dy], |[xs, gates, dys]: [&[T]; 3]| {
        let dx = gated::<T>(dys, gates, area);
        let dgate = match area {
            1 => gated::<T>(dys, xs, 1),
            _ => xs.par_chunks(area).zip(dys.par_chunks(area)).map(|(x, dy)| dot(x, dy) as T).collect(),
        };
        Ok((tensor(dx, x.shape())?, tensor(dgate, gate.shape())?))
    }))
}

/// For how many values of `x` each number of the gate is; `None` where the shapes are not those of [`multiply`].
fn gated_area(x: &Tensor, gate: &Tensor) -> Option<usize> {
    if x.dims() == gate.dims() {
        return Some(1);
    }
    let (n, c, height, width) = x.dims4().ok()?;
    (gate.dims() == [n, c, 1, 1] && height * width > 0).then_some(height * width)
}

fn gated<T: super::simd::Float>(x: &[T], gates: &[T], area: usize) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    if area == 1 {
        let tasks = out.par_chunks_mut(TASK).zip(x.par_chunks(TASK).zip(gates.par_chunks(TASK)));
        tasks.for_each(|(out, (x, gate))| product_of(out, x, gate));
    } else {
        let planes = out.par_chunks_mut(area).zip(x.par_chunks(area).zip(gates));
        planes.with_min_len(TASK.div_ceil(area)).for_each(|(out, (x, gate))| scaled(out, x, *gate));
    }
    out
}

/// The mean of `x` `[N, C, H, W]` over height and width, added up in f64: `[N, C, 1, 1]`.
///
/// # Errors
/// Where candle cannot compute on the device or type.
pub fn global_pool(x: &Tensor) -> Result<Tensor> {
    let (n, c, height, width) = x.dims4()?;
    if !on_cpu(&[x]) || x.elem_count() == 0 {
        return x.mean_keepdim((2, 3));
    }
    let (x, area) = (x.contiguous()?, height * width);
    for_float!(x.dtype(), |T| with_slices([&x], |[xs]: [&[T]; 1]| {
        let means = xs.par_chunks(area).map(|plane| (sum(plane) / area as f64) as T).collect();
        tensor(means, (n, c, 1, 1))
    }))
}

/// The gradient of [`global_pool`] over maps of `height` × `width` for the gradient `dy` `[N, C, 1, 1]` of its result.
///
/// # Errors
/// Where `dy` has another shape.
pub fn global_pool_backward(dy: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let (n, c, one, other) = dy.dims4()?;
    if (one, other) != (1, 1) {
        bail!("the gradient of a global pool has the shape {:?}", dy.dims());
    }
    let area = height * width;
    if !on_cpu(&[dy]) || area == 0 {
        return (dy / area as f64)?.broadcast_as((n, c, height, width))?.contiguous();
    }
    let dy = dy.contiguous()?;
    for_float!(dy.dtype(), |T| with_slices([&dy], |[dys]: [&[T]; 1]| {
        let mut dx = vec![0.0; n * c * area];
        let share = 1.0 / area as T;
        dx.par_chunks_mut(area).zip(dys).for_each(|(dx, dy)| dx.fill(*dy * share));
        tensor(dx, (n, c, height, width))
    }))
}

/// Joins tensors `[N, C, H, W]` along their channels.
///
/// # Errors
/// Where their other sizes differ.
pub fn concat(xs: &[&Tensor]) -> Result<Tensor> {
    let fits = |x: &&Tensor| x.rank() == 4 && (x.dims()[0], &x.dims()[2..]) == (xs[0].dims()[0], &xs[0].dims()[2..]);
    if xs.is_empty() || xs[0].rank() != 4 || !xs.iter().all(fits) || !on_cpu(xs) || xs[0].elem_count() == 0 {
        return Tensor::cat(xs, 1);
    }
    let (n, _, height, width) = xs[0].dims4()?;
    let parts = xs.iter().map(|x| x.contiguous()).collect::<Result<Vec<_>>>()?;
    let channels: Vec<usize> = xs.iter().map(|x| x.dims()[1]).collect();
    let (total, area) = (channels.iter().sum::<usize>(), height * width);
    for_float!(xs[0].dtype(), |T| {
        let mut out: Vec<T> = vec![0.0; n * total * area];
        let mut rests: Vec<&mut [T]> = out.chunks_mut(total * area).collect();
        for (part, channels) in parts.iter().zip(&channels) {
            with_slices([part], |[part]: [&[T]; 1]| {
                for (rest, part) in rests.iter_mut().zip(part.chunks((channels * area).max(1))) {
                    let (to, others) = std::mem::take(rest).split_at_mut(part.len());
                    *rest = others;
                    to.par_chunks_mut(TASK).zip(part.par_chunks(TASK)).for_each(|(to, part)| to.copy_from_slice(part));
                }
                Ok(())
            })?;
        }
        tensor(out, (n, total, height, width))
    })
}

/// The gradients of [`concat()`] for the gradient `dy` `[N, C, H, W]` of its result: its parts of so many channels.
///
/// # Errors
/// Where it does not have as many channels.
pub fn concat_backward(dy: &Tensor, channels: &[usize]) -> Result<Vec<Tensor>> {
    let (n, total, height, width) = dy.dims4()?;
    if channels.iter().sum::<usize>() != total {
        bail!("the gradient of a concatenation of {channels:?} channels has {total}");
    }
    let mut first = 0;
    let mut part = |count: usize| {
        let begin = first;
        first += count;
        if !on_cpu(&[dy]) || dy.elem_count() == 0 || !dy.is_contiguous() {
            return dy.narrow(1, begin, count)?.contiguous();
        }
        let area = height * width;
        for_float!(dy.dtype(), |T| with_slices([dy], |[dys]: [&[T]; 1]| {
            let mut out = vec![0.0; n * count * area];
            for (out, dy) in out.chunks_mut((count * area).max(1)).zip(dys.chunks(total * area)) {
                let dy = &dy[begin * area..][..count * area];
                out.par_chunks_mut(TASK).zip(dy.par_chunks(TASK)).for_each(|(out, dy)| out.copy_from_slice(dy));
            }
            tensor(out, (n, count, height, width))
        }))
    };
    channels.iter().map(|count| part(*count)).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::testing::{check_gradient_of, hashed, max_abs_diff};
    use super::*;

    /// Longer than a task of a thread, and not whole vectors.
    const SHAPE: [usize; 4] = [2, 3, 67, 91];

    #[test]
    fn sums_are_candles() {
        let (a, b) = (hashed("a", &SHAPE), hashed("b", &SHAPE));
        assert_eq!(max_abs_diff(&add(&a, &b).unwrap(), &(&a + &b).unwrap()), 0.0);
        let bias = hashed("bias", &[3]);
        let wanted = a.broadcast_add(&bias.reshape((1, 3, 1, 1)).unwrap()).unwrap();
        assert_eq!(max_abs_diff(&add_bias(&a, &bias).unwrap(), &wanted), 0.0);
        assert!(max_abs_diff(&bias_backward(&a).unwrap(), &a.sum((0, 2, 3)).unwrap()) < 1e-10);
        assert!(add(&a, &bias).is_err() && add_bias(&a, &hashed("bias", &[2])).is_err());
    }

    #[test]
    fn views_are_read_as_they_are() {
        let a = hashed("a", &[2, 3, 4, 5]).transpose(2, 3).unwrap();
        let copy = a.force_contiguous().unwrap();
        assert_eq!(max_abs_diff(&add(&a, &a).unwrap(), &(&copy * 2.0).unwrap()), 0.0);
        assert_eq!(max_abs_diff(&global_pool(&a).unwrap(), &global_pool(&copy).unwrap()), 0.0);
        let part = |x: &Tensor| concat_backward(x, &[1, 2]).unwrap().remove(1);
        assert_eq!(max_abs_diff(&part(&a), &part(&copy)), 0.0);
    }

    #[test]
    fn products_have_gradients() {
        for gate_shape in [[2, 3, 1, 1], [2, 3, 4, 3]] {
            let (x, gate) = (hashed("x", &[2, 3, 4, 3]), hashed("gate", &gate_shape));
            let y = multiply(&x, &gate).unwrap();
            assert_eq!(max_abs_diff(&y, &x.broadcast_mul(&gate).unwrap()), 0.0);
            let dy = hashed("dy", y.dims());
            let (dx, dgate) = multiply_backward(&x, &gate, &dy).unwrap();
            check_gradient_of(&x, &dy, &dx, |x| multiply(x, &gate), "x");
            check_gradient_of(&gate, &dy, &dgate, |gate| multiply(&x, gate), "gate");
        }
        let (x, gate) = (hashed("x", &SHAPE), hashed("gate", &SHAPE[..2]).reshape((2, 3, 1, 1)).unwrap());
        assert_eq!(max_abs_diff(&multiply(&x, &gate).unwrap(), &x.broadcast_mul(&gate).unwrap()), 0.0);
        assert!(multiply(&x, &hashed("gate", &[2, 4, 1, 1])).is_err());
    }

    #[test]
    fn the_mean_over_a_map_has_a_gradient() {
        let x = hashed("x", &[2, 3, 4, 5]);
        let y = global_pool(&x).unwrap();
        assert!(max_abs_diff(&y, &x.mean_keepdim((2, 3)).unwrap()) < 1e-15);
        let dy = hashed("dy", y.dims());
        let dx = global_pool_backward(&dy, (4, 5)).unwrap();
        check_gradient_of(&x, &dy, &dx, global_pool, "global pool");
        assert!(global_pool_backward(&x, (4, 5)).is_err());
    }

    #[test]
    fn joined_maps_come_apart() {
        let parts = [hashed("a", &[2, 3, 67, 91]), hashed("b", &[2, 1, 67, 91]), hashed("c", &[2, 4, 67, 91])];
        let joined = concat(&parts.each_ref()).unwrap();
        assert_eq!(max_abs_diff(&joined, &Tensor::cat(&parts, 1).unwrap()), 0.0);
        for (part, whole) in concat_backward(&joined, &[3, 1, 4]).unwrap().iter().zip(&parts) {
            assert_eq!(max_abs_diff(part, whole), 0.0);
        }
        assert!(concat_backward(&joined, &[3, 1]).is_err());
        assert!(concat(&[&parts[0], &hashed("d", &[2, 1, 67, 90])]).is_err() && concat(&[]).is_err());
    }

    #[test]
    fn other_types_go_to_candle() {
        let x = hashed("x", &[1, 2, 3, 4]).to_dtype(DType::BF16).unwrap();
        assert_eq!(add(&x, &x).unwrap().dtype(), DType::BF16);
        let gate = Tensor::ones((1, 2, 1, 1), DType::BF16, &Device::Cpu).unwrap();
        assert_eq!(multiply_backward(&x, &gate, &x).unwrap().1.dims(), [1, 2, 1, 1]);
    }
}
