//! The transforms of Winograd's algorithm.

use proptest::prelude::*;

use super::{UNTOUCHED, clamps, kernels, noise};
use crate::exec::cpu::isa::{Kernels, PatchInput, PatchOutput, PatchWeights, Products};
use crate::exec::fuse::Clamp;

/// `G`, `Bᵀ` and `Aᵀ` of F(4×4, 3×3) and of F(3×3, 3×3).
const KERNEL: [&[[f64; 3]]; 2] = [
    &[
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ],
    &[
        [1.0 / 2.0, 0.0, 0.0],
        [-1.0 / 2.0, -1.0 / 2.0, -1.0 / 2.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 6.0, 1.0 / 3.0, 2.0 / 3.0],
        [0.0, 0.0, 1.0],
    ],
];
const INPUT: [&[&[f64]]; 2] = [
    &[
        &[4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        &[0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        &[0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        &[0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        &[0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        &[0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ],
    &[
        &[2.0, -1.0, -2.0, 1.0, 0.0],
        &[0.0, -2.0, -1.0, 1.0, 0.0],
        &[0.0, 2.0, -3.0, 1.0, 0.0],
        &[0.0, -1.0, 0.0, 1.0, 0.0],
        &[0.0, 2.0, -1.0, -2.0, 1.0],
    ],
];
const OUTPUT: [&[&[f64]]; 2] = [
    &[
        &[1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        &[0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        &[0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        &[0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ],
    &[&[1.0, 1.0, 1.0, 1.0, 0.0], &[0.0, 1.0, -1.0, 2.0, 0.0], &[0.0, 1.0, 1.0, 4.0, 1.0]],
];

/// Element (y, x) of `M v Mᵀ`.
fn transformed<R: AsRef<[f64]>>(matrix: &[R], (y, x): (usize, usize), value: impl Fn(usize, usize) -> f32) -> f64 {
    let [down, along] = [y, x].map(|row| matrix[row].as_ref());
    let row = |i: usize| along.iter().enumerate().map(|(j, m)| m * f64::from(value(i, j))).sum::<f64>();
    down.iter().enumerate().map(|(i, m)| m * row(i)).sum()
}

fn patch_weights(kernels: Kernels, span: usize, inputs: usize, row: usize, gap: usize, seed: u64) {
    let width = kernels.panel_width();
    let (panel, step) = (noise(seed, inputs * 9 * width), inputs * width + gap);
    let mut out = vec![UNTOUCHED; span * step];
    kernels.patch_weights(PatchWeights { span, panel: &panel, width, inputs, row, out: &mut out, step });
    for (i, &actual) in out.iter().enumerate() {
        let (x, input, output) = (i / step, i % step / width, i % step % width);
        if input >= inputs {
            assert_eq!(actual, UNTOUCHED);
            continue;
        }
        let expected =
            transformed(KERNEL[6 - span], (row, x), |y, x| panel[((3 * y + x) * inputs + input) * width + output]);
        assert!((f64::from(actual) - expected).abs() < 1e-6, "{:?}: {actual} for {expected}", kernels.isa());
    }
}

fn patch_input(kernels: Kernels, span: usize, channels: usize, gap: usize, missing: u64, seed: u64) {
    let (pitch, step) = (channels + gap, channels + 2 * gap);
    let x = noise(seed, 36 * pitch);
    let pixels = std::array::from_fn(|i| (missing >> i & 1 == 0).then_some((35 - i) * pitch));
    let mut out = vec![UNTOUCHED; span * span * step];
    kernels.patch_input(PatchInput { span, x: &x, pixels, channels, out: &mut out, step });
    for (i, &actual) in out.iter().enumerate() {
        let (position, channel) = (i / step, i % step);
        if channel >= channels {
            assert_eq!(actual, UNTOUCHED);
            continue;
        }
        let value = |y: usize, x_: usize| pixels[span * y + x_].map_or(0.0, |pixel| x[pixel + channel]);
        let expected = transformed(INPUT[6 - span], (position / span, position % span), value);
        assert!((f64::from(actual) - expected).abs() < 2e-5, "{:?}: {actual} for {expected}", kernels.isa());
    }
}

fn patch_output(
    kernels: Kernels,
    span: usize,
    [channels, panels, gap]: [usize; 3],
    missing: u32,
    add: bool,
    clamp: Clamp,
    seed: u64,
) {
    let width = panels * kernels.panel_width();
    let (step, pitch) = (width + gap, channels + gap);
    let part_step = span * step + gap;
    let row_step = channels.div_ceil(width) * part_step;
    let products = noise(seed, span * row_step);
    let bias = noise(seed ^ 1, channels.next_multiple_of(width));
    let residual = noise(seed ^ 2, 16 * pitch);
    let side = span - 2;
    let pixels: [_; 16] = std::array::from_fn(|i| (i < side * side && missing >> i & 1 == 0).then_some(15 - i));
    let mut out = vec![UNTOUCHED; 16 * pitch];
    kernels.patch_output(PatchOutput {
        span,
        products: Products { data: &products, width, row_step, part_step, step },
        channels,
        bias: &bias,
        clamp,
        pixels,
        residual: add.then_some((&residual, pitch)),
        out: &mut out,
        out_pitch: pitch,
    });
    for (i, &actual) in out.iter().enumerate() {
        let (pixel, channel) = (i / pitch, i % pitch);
        let Some(at) = pixels.iter().position(|p| *p == Some(pixel)).filter(|_| channel < channels) else {
            assert_eq!(actual, UNTOUCHED);
            continue;
        };
        let value = |y, x| products[y * row_step + channel / width * part_step + x * step + channel % width];
        let sum = transformed(OUTPUT[6 - span], (at / side, at % side), value) + f64::from(bias[channel]);
        let sum = if add { sum + f64::from(residual[i]) } else { sum };
        let expected = sum.clamp(clamp.low.into(), clamp.high.into());
        assert!((f64::from(actual) - expected).abs() < 1e-4, "{:?}: {actual} for {expected}", kernels.isa());
    }
}

/// The instruction sets that have patch kernels, with their lanes.
fn patch_kernels() -> impl Iterator<Item = (Kernels, usize)> {
    kernels().filter_map(|kernels| Some((kernels, kernels.patch_lanes()?)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    #[test]
    fn patches_of_any_shape(
        channels in 0usize..70, panels in 1usize..4, row in 0usize..6, gap in 0usize..3, missing: u64,
        add: bool, clamp in clamps(), seed: u64,
    ) {
        for (kernels, lanes) in patch_kernels() {
            for span in [5, 6] {
                patch_weights(kernels, span, 1 + channels, row % span, gap, seed);
                patch_input(kernels, span, lanes + channels, gap, missing, seed);
                patch_output(kernels, span, [1 + channels, panels, gap], missing as u32, add, clamp, seed);
            }
        }
    }
}
