//! `cargo bench -p candle-deeplab --bench training`: times single operations of a training step, forward and backward,
//! as a server of `benches/peers/training_ops.py`, which times PyTorch's beside them.
//!
//! Each line of the standard input describes an operation: `conv N C H W OUT KERNEL STRIDE DILATION GROUPS`, or one of
//! `norm`, `relu`, `add`, `pool`, `max`, `concat` with `N C H W`, or `resize N C H W HEIGHT WIDTH`, each after the
//! number of repetitions. The answer is a line with the median times of the forward and the backward pass in
//! milliseconds.
#![allow(clippy::unwrap_used)] // a benchmark that cannot go on has nothing to say

use std::io::BufRead;
use std::time::Instant;

use candle_core::{Device, Result, Tensor};
use candle_deeplab::graph::{Activation, Padding, Window};
use candle_deeplab::ops;

/// As in the program.
#[global_allocator]
static ALLOCATOR: candle_deeplab::Recycling = candle_deeplab::Recycling::new();

fn main() {
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let mut words = line.split_whitespace();
        let (Some(repeats), Some(name)) = (words.next(), words.next()) else { continue };
        let sizes: Vec<usize> = words.map(|word| word.parse().unwrap()).collect();
        let [n, c, h, w, ref rest @ ..] = sizes[..] else { continue };
        let x = values(&[n, c, h, w]);
        let repeats = repeats.parse().unwrap();
        let (forward, backward) = times(name, &x, rest, repeats).unwrap();
        println!("{forward:.4} {backward:.4}");
    }
}

fn values(shape: &[usize]) -> Tensor {
    let len: usize = shape.iter().product();
    let values = (0..len).map(|i| (i * 7919 % 1021) as f32 / 510.0 - 1.0).collect();
    Tensor::from_vec::<_, f32>(values, shape, &Device::Cpu).unwrap()
}

/// The median times of a forward and of a backward pass, which gets the gradient of the forward's result.
fn times(name: &str, x: &Tensor, rest: &[usize], repeats: usize) -> Result<(f64, f64)> {
    let (_, c, height, width) = x.dims4()?;
    match (name, rest) {
        ("conv", [out, kernel, stride, dilation, groups]) => {
            let padding = Padding::Symmetric(kernel / 2 * dilation);
            let window = |side| Window::new(side, *kernel, *stride, *dilation, padding).unwrap();
            let windows = (window(height), window(width));
            let k = values(&[*out, c / groups, *kernel, *kernel]);
            measure(
                repeats,
                || ops::conv2d(x, &k, *groups, windows),
                // Nobody needs the gradient of an image.
                |dy| ops::conv2d_backward(x, &k, *groups, windows, dy, c > 3),
            )
        }
        ("norm", []) => {
            let (gamma, beta, relu) = (values(&[c]), values(&[c]), Some(Activation::Relu));
            let (_, statistics) = ops::batch_norm_train(x, &gamma, &beta, 1e-5, relu)?;
            measure(
                repeats,
                || Ok(ops::batch_norm_train(x, &gamma, &beta, 1e-5, relu)?.0),
                |dy| ops::batch_norm_backward(x, &gamma, &beta, &statistics, 1e-5, relu, dy, false),
            )
        }
        ("relu", []) => measure(
            repeats,
            || ops::activation(x, Activation::Relu),
            |dy| ops::activation_backward(x, Activation::Relu, dy),
        ),
        ("add", []) => measure(repeats, || ops::add(x, x), |_| Ok(())),
        ("pool", []) => measure(repeats, || ops::global_pool(x), |dy| ops::global_pool_backward(dy, (height, width))),
        ("max", []) => {
            let window = |side| Window::new(side, 3, 2, 1, Padding::Symmetric(1)).unwrap();
            let windows = (window(height), window(width));
            measure(repeats, || ops::max_pool2d(x, windows), |dy| ops::max_pool2d_backward(x, windows, dy))
        }
        ("concat", []) => measure(repeats, || ops::concat(&[x, x]), |dy| ops::concat_backward(dy, &[c, c])),
        ("resize", [to_height, to_width]) => measure(
            repeats,
            || ops::resize_bilinear(x, (*to_height, *to_width), false),
            |dy| ops::resize_bilinear_backward(dy, (height, width), false),
        ),
        _ => candle_core::bail!("{name} {rest:?}"),
    }
}

fn measure<B>(
    repeats: usize,
    forward: impl Fn() -> Result<Tensor>,
    backward: impl Fn(&Tensor) -> Result<B>,
) -> Result<(f64, f64)> {
    let dy = forward()?;
    let (mut forwards, mut backwards) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        forwards.push(milliseconds(&forward)?);
        backwards.push(milliseconds(|| backward(&dy))?);
    }
    Ok((median(forwards), median(backwards)))
}

/// The time of a call, and of giving back its result's memory.
fn milliseconds<B>(f: impl Fn() -> Result<B>) -> Result<f64> {
    let start = Instant::now();
    f()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
