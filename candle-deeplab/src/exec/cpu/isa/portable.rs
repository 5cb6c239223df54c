//! The kernels in safe Rust, in loops over arrays that LLVM makes vectors of. Multiplication and addition round
//! separately: without an instruction for both, `f32::mul_add` is a call.

use super::{CHAINS, Clamp, Depthwise, Matmul, Quarters};

/// Two vectors of the narrowest common kind.
pub(super) const PANEL_WIDTH: usize = 8;
pub(super) const TILE_ROWS: usize = 4;

pub(super) fn matmul(args: Matmul<'_>) {
    let Matmul { runs, segments, x, x_pitch, weights, starts, residual, clamp, out, out_pitch } = args;
    for (panel, bias, first, columns) in weights.panels() {
        for run in runs {
            for row in (0..run.rows).step_by(TILE_ROWS) {
                let tile = TILE_ROWS.min(run.rows - row);
                let mut sums = [[0.0; PANEL_WIDTH]; TILE_ROWS];
                sums.iter_mut().for_each(|sums| sums.copy_from_slice(bias));
                for (r, sums) in sums.iter_mut().enumerate().take(tile) {
                    let at = (run.first + row + r) * weights.bias.len() + first;
                    for start in starts {
                        sums.iter_mut().zip(&start[at..]).for_each(|(sum, start)| *sum += start);
                    }
                }
                for segment in &segments[run.sees.clone()] {
                    // The rows that are missing in the last tile are computed from its last one, and not stored.
                    let row = |r: usize| &x[segment.x + (row + r.min(tile - 1)) * x_pitch..][..segment.len];
                    let panel = &panel[segment.input * PANEL_WIDTH..][..segment.len * PANEL_WIDTH];
                    add_products(std::array::from_fn(row), panel, &mut sums);
                }
                for (r, sums) in sums.iter().enumerate().take(tile) {
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

fn add_products(x: [&[f32]; TILE_ROWS], panel: &[f32], sums: &mut [[f32; PANEL_WIDTH]; TILE_ROWS]) {
    for (k, weights) in panel.as_chunks::<PANEL_WIDTH>().0.iter().enumerate() {
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = x[k];
            sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum += x * w);
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
    let Depthwise { runs, taps, channels, x, x_step, weights, bias, relu_input, clamp, out, out_pitch } = args;
    let low = if relu_input { 0.0 } else { f32::NEG_INFINITY };
    for run in runs {
        for pixel in 0..run.rows {
            let out = &mut out[(run.first + pixel) * out_pitch..][..channels];
            out.copy_from_slice(&bias[..channels]);
            for tap in &taps[run.sees.clone()] {
                let x = &x[tap.input + pixel * x_step..][..channels];
                let weights = &weights[tap.weight..][..channels];
                for ((out, x), w) in out.iter_mut().zip(x).zip(weights) {
                    // Not `max`, which would hide a NaN.
                    *out += if *x < low { low } else { *x } * w;
                }
            }
            apply(out, clamp);
        }
    }
}

/// Multiplications and additions that need nothing but registers.
pub(super) fn multiply_adds(rounds: usize) -> f32 {
    let (factor, mut sums) = (std::hint::black_box(0.5f32), [[1f32; PANEL_WIDTH]; CHAINS]);
    for _ in 0..rounds {
        for sum in sums.as_flattened_mut() {
            *sum = *sum * factor + factor;
        }
    }
    sums.as_flattened().iter().sum()
}

fn apply(values: &mut [f32], clamp: Clamp) {
    if clamp != Clamp::NONE {
        values.iter_mut().for_each(|value| *value = clamp.apply(*value));
    }
}
