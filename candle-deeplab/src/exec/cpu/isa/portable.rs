//! The kernels in safe Rust, in loops over arrays that LLVM makes vectors of. Multiplication and addition round
//! separately: without an instruction for both, `f32::mul_add` is a call.

use half::bf16;

use super::{CHAINS, Clamp, Depthwise, Interleave, Matmul, Quarters};

/// Two vectors of the narrowest common kind.
pub(super) const PANEL_WIDTH: usize = 8;
pub(super) const TILE_ROWS: usize = 4;

/// A matmul of f32.
pub(super) fn matmul(args: Matmul<'_>) {
    matmul_of(args, add_product);
}

/// A matmul of bf16, two numbers in each 32 bits, summed up in f32.
pub(super) fn matmul_bf16(args: Matmul<'_>) {
    matmul_of(args, add_products_bf16);
}

/// Two numbers of bf16 as the 32 bits of a word, rounded to the nearest, to even between two.
pub(super) fn word([first, second]: [f32; 2]) -> f32 {
    let bits = |x: f32| u32::from(bf16::from_f32(x).to_bits());
    f32::from_bits(bits(first) | bits(second) << 16)
}

fn pair(word: f32) -> [f32; 2] {
    [f32::from_bits(word.to_bits() << 16), f32::from_bits(word.to_bits() & 0xffff_0000)]
}

/// Rounds to bf16, two numbers a word; the second of a last one that has none is zero.
pub(super) fn round(x: &[f32], words: &mut [f32]) {
    for (x, to) in x.chunks(2).zip(words) {
        *to = word([x[0], x.get(1).copied().unwrap_or_default()]);
    }
}

fn matmul_of(args: Matmul<'_>, add: impl Fn(f32, f32, f32) -> f32 + Copy) {
    let Matmul { runs, segments, x, x_pitch, interleaved, weights, starts, residual, clamp, out, out_pitch } = args;
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
                    let panel = &panel[segment.input * PANEL_WIDTH..][..segment.len * PANEL_WIDTH];
                    let weights = panel.as_chunks::<PANEL_WIDTH>().0;
                    if interleaved {
                        let x = &x[segment.x + row * x_pitch..][..segment.len * TILE_ROWS];
                        for (x, weights) in x.as_chunks().0.iter().zip(weights) {
                            add_products(x, weights, &mut sums, add);
                        }
                    } else {
                        // The rows that are missing in the last tile are computed from its last one, and not stored.
                        let row = |r: usize| &x[segment.x + (row + r.min(tile - 1)) * x_pitch..][..segment.len];
                        let x: [_; TILE_ROWS] = std::array::from_fn(row);
                        for (k, weights) in weights.iter().enumerate() {
                            add_products(&x.map(|x| x[k]), weights, &mut sums, add);
                        }
                    }
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

/// Adds the products of an input of each row with its weights.
fn add_products(
    x: &[f32; TILE_ROWS],
    weights: &[f32; PANEL_WIDTH],
    sums: &mut [[f32; PANEL_WIDTH]; TILE_ROWS],
    add: impl Fn(f32, f32, f32) -> f32,
) {
    for (sums, x) in sums.iter_mut().zip(x) {
        sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum = add(*x, *w, *sum));
    }
}

pub(super) fn interleave(args: Interleave<'_>) {
    let Interleave { x, pitch, rows, inputs, out } = args;
    for (first, out) in (0..rows).step_by(TILE_ROWS).zip(out.chunks_exact_mut((TILE_ROWS * inputs).max(1))) {
        for (k, out) in out.as_chunks_mut::<TILE_ROWS>().0.iter_mut().enumerate() {
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

/// The products of two numbers of bf16 are exact in f32.
fn add_products_bf16(x: f32, w: f32, sum: f32) -> f32 {
    let ([a, b], [c, d]) = (pair(x), pair(w));
    sum + a * c + b * d
}

fn apply(values: &mut [f32], clamp: Clamp) {
    if clamp != Clamp::NONE {
        values.iter_mut().for_each(|value| *value = clamp.apply(*value));
    }
}
