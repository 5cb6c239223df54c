//! The kernels in safe Rust, as loops over arrays that LLVM vectorizes. Multiplication and addition round separately:
//! without a fused instruction, `f32::mul_add` is a function call.

use super::args::{CHAINS, Depthwise, Interleave, Matmul, Quarters};
use super::bf16::{pair, word};
use crate::exec::fuse::Clamp;

/// Two vectors of four lanes, the narrowest common vectors.
pub(super) const PANEL_WIDTH: usize = 8;
pub(super) const ROWS_AT_ONCE: usize = 4;

/// A matmul in f32.
pub(super) fn matmul(args: Matmul<'_>) {
    matmul_of(args, add_product);
}

/// A matmul in bf16, two numbers to a word, with f32 sums.
pub(super) fn matmul_bf16(args: Matmul<'_>) {
    matmul_of(args, add_products_bf16);
}

fn matmul_of(args: Matmul<'_>, add: impl Fn(f32, f32, f32) -> f32 + Copy) {
    let Matmul { runs, segments, x, x_pitch, interleaved, weights, starts, residual, clamp, out, out_pitch } = args;
    for (panel, bias, first, columns) in weights.panels() {
        for run in runs {
            for row in (0..run.rows).step_by(ROWS_AT_ONCE) {
                let rows = ROWS_AT_ONCE.min(run.rows - row);
                let mut sums = [[0.0; PANEL_WIDTH]; ROWS_AT_ONCE];
                sums.iter_mut().for_each(|sums| sums.copy_from_slice(bias));
                for (r, sums) in sums.iter_mut().enumerate().take(rows) {
                    let at = (run.first + row + r) * weights.bias.len() + first;
                    for start in starts {
                        sums.iter_mut().zip(&start[at..]).for_each(|(sum, start)| *sum += start);
                    }
                }
                for segment in &segments[run.sees.clone()] {
                    let panel = &panel[segment.input * PANEL_WIDTH..][..segment.len * PANEL_WIDTH];
                    let weights = panel.as_chunks::<PANEL_WIDTH>().0;
                    if interleaved {
                        let x = &x[segment.x + row * x_pitch..][..segment.len * ROWS_AT_ONCE];
                        for (x, weights) in x.as_chunks().0.iter().zip(weights) {
                            add_products(x, weights, &mut sums, add);
                        }
                    } else {
                        // Missing rows at the end are computed from the last one, but not stored.
                        let row = |r: usize| &x[segment.x + (row + r.min(rows - 1)) * x_pitch..][..segment.len];
                        let x: [_; ROWS_AT_ONCE] = std::array::from_fn(row);
                        for (k, weights) in weights.iter().enumerate() {
                            add_products(&x.map(|x| x[k]), weights, &mut sums, add);
                        }
                    }
                }
                for (r, sums) in sums.iter().enumerate().take(rows) {
                    let row = run.first + row + r;
                    let out = &mut out[row * out_pitch + first..][..columns];
                    out.copy_from_slice(&sums[..columns]);
                    if let Some((residual, pitch)) = residual {
                        let residual = &residual[row * pitch + first..][..columns];
                        out.iter_mut().zip(residual).for_each(|(out, x)| *out += x);
                    }
                    apply(out, clamp);
                }
            }
        }
    }
}

/// Multiplies an input of each row by its weights, and adds the products to the sums.
fn add_products(
    x: &[f32; ROWS_AT_ONCE],
    weights: &[f32; PANEL_WIDTH],
    sums: &mut [[f32; PANEL_WIDTH]; ROWS_AT_ONCE],
    add: impl Fn(f32, f32, f32) -> f32,
) {
    for (sums, x) in sums.iter_mut().zip(x) {
        sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum = add(*x, *w, *sum));
    }
}

pub(super) fn interleave(args: Interleave<'_>) {
    let Interleave { x, pitch, rows, inputs, out } = args;
    for (first, out) in (0..rows).step_by(ROWS_AT_ONCE).zip(out.chunks_exact_mut((ROWS_AT_ONCE * inputs).max(1))) {
        for (k, out) in out.as_chunks_mut::<ROWS_AT_ONCE>().0.iter_mut().enumerate() {
            *out = std::array::from_fn(|r| if first + r < rows { x[(first + r) * pitch + k] } else { 0.0 });
        }
    }
}

pub(super) fn quarters(args: Quarters<'_>) {
    let Quarters { quarters, sign, len, out, step } = args;
    let [a, b, c, d] = quarters.map(|quarter| &quarter[..len]);
    for i in 0..len {
        let first = sign * c[i] + d[i];
        let second = first - sign * a[i];
        out[i] = first;
        out[step + i] = second;
        out[2 * step + i] = sign * (a[i] - c[i]);
        out[3 * step + i] = b[i] - second;
    }
}

pub(super) fn depthwise(args: Depthwise<'_>) {
    let Depthwise { runs, neighbours, channels, x, x_step, weights, bias, relu_input, clamp, out, out_pitch } = args;
    let low = if relu_input { 0.0 } else { f32::NEG_INFINITY };
    for run in runs {
        for pixel in 0..run.rows {
            let out = &mut out[(run.first + pixel) * out_pitch..][..channels];
            out.copy_from_slice(&bias[..channels]);
            for neighbour in &neighbours[run.sees.clone()] {
                let x = &x[neighbour.input + pixel * x_step..][..channels];
                let weights = &weights[neighbour.weight..][..channels];
                for ((out, x), w) in out.iter_mut().zip(x).zip(weights) {
                    // Not `max`, which would hide a NaN.
                    *out += if *x < low { low } else { *x } * w;
                }
            }
            apply(out, clamp);
        }
    }
}

/// Runs multiplications and additions that use nothing but registers.
pub(super) fn multiply_adds(rounds: usize) -> f32 {
    multiply_adds_of(rounds, add_product)
}

pub(super) fn multiply_adds_bf16(rounds: usize) -> f32 {
    multiply_adds_of(rounds, add_products_bf16)
}

fn multiply_adds_of(rounds: usize, add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let (factor, mut sums) = (std::hint::black_box(word([0.5; 2])), [[1f32; PANEL_WIDTH]; CHAINS]);
    for _ in 0..rounds {
        for sum in sums.as_flattened_mut() {
            *sum = add(factor, factor, *sum);
        }
    }
    sums.as_flattened().iter().sum()
}

fn add_product(x: f32, w: f32, sum: f32) -> f32 {
    sum + x * w
}

/// Products of two bf16 numbers are exact in f32.
fn add_products_bf16(x: f32, w: f32, sum: f32) -> f32 {
    let ([a, b], [c, d]) = (pair(x), pair(w));
    sum + a * c + b * d
}

fn apply(values: &mut [f32], clamp: Clamp) {
    if clamp != Clamp::NONE {
        values.iter_mut().for_each(|value| *value = clamp.apply(*value));
    }
}
