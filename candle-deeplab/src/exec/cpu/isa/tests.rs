//! Every kernel of every instruction set that this machine has, against a scalar reference in double precision.

use std::ops::Range;

use proptest::prelude::*;

use super::{
    Clamp, Depthwise, Interleave, Isa, Kernels, Matmul, Packed, Precision, Products, Quarters, Run, Segment, Tap,
    TileInput, TileOutput, TileWeights,
};

/// Numbers in (−1, 1) without a pattern.
pub(in super::super) fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn clamps() -> impl Strategy<Value = Clamp> {
    prop_oneof![Just(Clamp::NONE), Just(Clamp { low: 0.0, high: f32::INFINITY }), Just(Clamp { low: 0.0, high: 0.5 }),]
}

fn kernels() -> impl Iterator<Item = Kernels> {
    Isa::available().filter_map(|isa| Kernels::new(isa, Precision::F32).ok())
}

/// What is around the result stays as it was.
pub(in super::super) const UNTOUCHED: f32 = 777.0;

fn matmul(kernels: Kernels, [rows, inputs, outputs, gap]: [usize; 4], add: bool, clamp: Clamp, seed: u64) {
    let (x_pitch, out_pitch) = (inputs + gap, outputs + gap);
    let (x, weights) = (noise(seed, rows * x_pitch), noise(seed ^ 1, inputs * outputs));
    let (bias, residual) = (noise(seed ^ 2, outputs), noise(seed ^ 3, rows * out_pitch));
    let packed = Packed::new(Precision::F32, kernels.panel_width(), inputs, &bias, |outputs| {
        Ok(weights[outputs.start * inputs..outputs.end * inputs].to_vec())
    })
    .unwrap();
    let padded = outputs.next_multiple_of(kernels.panel_width());
    let starts: Vec<Vec<f32>> = (0..gap).map(|i| noise(seed ^ (4 + i as u64), rows * padded)).collect();
    let starts: Vec<&[f32]> = starts.iter().map(|start| &start[..]).collect();
    let mut out = vec![UNTOUCHED; rows * out_pitch];
    // Two runs, and inputs in two segments.
    let (half, part) = (rows / 2, inputs / 3);
    let segment = |run: usize, input, len| Segment { x: run * half * x_pitch + input, input, len };
    let both = |run| [segment(run, 0, part), segment(run, part, inputs - part)];
    let segments = [both(0), both(1)].concat();
    let runs = [Run { first: 0, rows: half, sees: 0..2 }, Run { first: half, rows: rows - half, sees: 2..4 }];
    kernels.matmul(Matmul {
        runs: &runs,
        segments: &segments,
        x: &x,
        x_pitch,
        interleaved: false,
        weights: packed.weights(),
        starts: &starts,
        residual: add.then_some((&residual, out_pitch)),
        clamp,
        out: &mut out,
        out_pitch,
    });
    let expected = |i: usize| {
        let (row, o) = (i / out_pitch, i % out_pitch);
        if o >= outputs {
            return None;
        }
        let product = |k| f64::from(x[row * x_pitch + k]) * f64::from(weights[o * inputs + k]);
        let start: f64 = starts.iter().map(|start| f64::from(start[row * padded + o])).sum();
        let sum: f64 = (0..inputs).map(product).sum::<f64>() + f64::from(bias[o]) + start;
        let sum = if add { sum + f64::from(residual[i]) } else { sum };
        Some(sum.clamp(clamp.low.into(), clamp.high.into()))
    };
    let compare = |out: &[f32]| {
        for (i, &actual) in out.iter().enumerate() {
            let Some(expected) = expected(i) else {
                assert_eq!(actual, UNTOUCHED);
                continue;
            };
            let off = (f64::from(actual) - expected).abs();
            assert!(off < 1e-6 * (inputs + 4) as f64, "{:?}: {actual} for {expected}", kernels.isa());
        }
    };
    compare(&out);
    // The same rows interleaved, as one run, and inputs in two segments.
    let tile = kernels.tile_rows();
    let mut tiles = vec![UNTOUCHED; rows.next_multiple_of(tile) * inputs];
    kernels.interleave(Interleave { x: &x, pitch: x_pitch, rows, inputs, out: &mut tiles });
    out.fill(UNTOUCHED);
    kernels.matmul(Matmul {
        runs: &[Run { first: 0, rows, sees: 0..2 }],
        segments: &[(0, part), (part, inputs - part)].map(|(input, len)| Segment { x: input * tile, input, len }),
        x: &tiles,
        x_pitch: inputs,
        interleaved: true,
        weights: packed.weights(),
        starts: &starts,
        residual: add.then_some((&residual, out_pitch)),
        clamp,
        out: &mut out,
        out_pitch,
    });
    compare(&out);
}

fn interleave(kernels: Kernels, rows: usize, inputs: usize, gap: usize, seed: u64) {
    let (pitch, tile) = (inputs + gap, kernels.tile_rows());
    let x = noise(seed, rows * pitch);
    let len = rows.next_multiple_of(tile) * inputs;
    let mut out = vec![UNTOUCHED; len + gap];
    kernels.interleave(Interleave { x: &x, pitch, rows, inputs, out: &mut out });
    for (i, &actual) in out.iter().enumerate() {
        if i >= len {
            assert_eq!(actual, UNTOUCHED);
            continue;
        }
        let (row, input) = (i / (tile * inputs) * tile + i % tile, i % (tile * inputs) / tile);
        assert_eq!(actual, if row < rows { x[row * pitch + input] } else { 0.0 }, "{:?}", kernels.isa());
    }
}

/// Taps are `gap` apart, or in rows of `row` that see neighbouring pixels.
fn depthwise(
    kernels: Kernels,
    [pixels, channels, taps, gap, row]: [usize; 5],
    relu_input: bool,
    clamp: Clamp,
    seed: u64,
) {
    let (step, out_pitch) = (channels + 2 * gap, channels + gap);
    let weights = noise(seed, taps * channels);
    let input = |i: usize| i / row * gap + i % row * step;
    let taps: Vec<Tap> = (0..taps).map(|i| Tap { input: input(i), weight: i * channels }).collect();
    let x = noise(seed ^ 1, (pixels + row) * step + taps.len() * gap + channels);
    let bias = noise(seed ^ 2, channels);
    let mut out = vec![UNTOUCHED; pixels * out_pitch];
    // Two runs, of which the second does not see the last tap.
    let (half, seen) = (pixels / 2, taps.len().saturating_sub(1));
    let second = taps.iter().map(|tap| Tap { input: tap.input + half * step, ..*tap });
    let both: Vec<Tap> = taps.iter().copied().chain(second).collect();
    let runs = [
        Run { first: 0, rows: half, sees: 0..taps.len() },
        Run { first: half, rows: pixels - half, sees: taps.len()..taps.len() + seen },
    ];
    kernels.depthwise(Depthwise {
        runs: &runs,
        taps: &both,
        channels,
        x: &x,
        x_step: step,
        weights: &weights,
        bias: &bias,
        relu_input,
        clamp,
        out: &mut out,
        out_pitch,
    });
    for (i, &actual) in out.iter().enumerate() {
        let (pixel, c) = (i / out_pitch, i % out_pitch);
        if c >= channels {
            assert_eq!(actual, UNTOUCHED);
            continue;
        }
        let product = |tap: &Tap| {
            let x = x[tap.input + pixel * step + c];
            f64::from(if relu_input { x.max(0.0) } else { x }) * f64::from(weights[tap.weight + c])
        };
        let taps = if pixel < half { &taps[..] } else { &taps[..seen] };
        let sum: f64 = taps.iter().map(product).sum::<f64>() + f64::from(bias[c]);
        let expected = sum.clamp(clamp.low.into(), clamp.high.into());
        let off = (f64::from(actual) - expected).abs();
        assert!(off < 1e-6 * (taps.len() + 4) as f64, "{:?}: {actual} for {expected}", kernels.isa());
    }
}

fn quarters(kernels: Kernels, len: usize, gap: usize, sign: f32, seed: u64) {
    let step = len + gap;
    let values: [Vec<f32>; 4] = std::array::from_fn(|i| noise(seed ^ i as u64, len));
    let mut out = vec![UNTOUCHED; 4 * step];
    kernels.quarters(Quarters { quarters: values.each_ref().map(|v| &v[..]), sign, len, out: &mut out, step });
    for (i, &actual) in out.iter().enumerate() {
        let (sum, i) = (i / step, i % step);
        if i >= len {
            assert_eq!(actual, UNTOUCHED);
            continue;
        }
        let [a, b, c, d] = values.each_ref().map(|v| f64::from(v[i]));
        let (a, c) = (f64::from(sign) * a, f64::from(sign) * c);
        let expected = [c + d, c + d - a, a - c, b - (c + d - a)][sum];
        assert!((f64::from(actual) - expected).abs() < 1e-6, "{:?}: {actual} for {expected}", kernels.isa());
    }
}

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

fn tile_weights(kernels: Kernels, span: usize, inputs: usize, row: usize, gap: usize, seed: u64) {
    let width = kernels.panel_width();
    let (panel, step) = (noise(seed, inputs * 9 * width), inputs * width + gap);
    let mut out = vec![UNTOUCHED; span * step];
    kernels.tile_weights(TileWeights { span, panel: &panel, width, inputs, row, out: &mut out, step });
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

fn tile_input(kernels: Kernels, span: usize, channels: usize, gap: usize, missing: u64, seed: u64) {
    let (pitch, step) = (channels + gap, channels + 2 * gap);
    let x = noise(seed, 36 * pitch);
    let pixels = std::array::from_fn(|i| (missing >> i & 1 == 0).then_some((35 - i) * pitch));
    let mut out = vec![UNTOUCHED; span * span * step];
    kernels.tile_input(TileInput { span, x: &x, pixels, channels, out: &mut out, step });
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

fn tile_output(
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
    let tile = span - 2;
    let pixels: [_; 16] = std::array::from_fn(|i| (i < tile * tile && missing >> i & 1 == 0).then_some(15 - i));
    let mut out = vec![UNTOUCHED; 16 * pitch];
    kernels.tile_output(TileOutput {
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
        let sum = transformed(OUTPUT[6 - span], (at / tile, at % tile), value) + f64::from(bias[channel]);
        let sum = if add { sum + f64::from(residual[i]) } else { sum };
        let expected = sum.clamp(clamp.low.into(), clamp.high.into());
        assert!((f64::from(actual) - expected).abs() < 1e-4, "{:?}: {actual} for {expected}", kernels.isa());
    }
}

/// Those that have kernels for tiles, with their lanes.
fn tile_kernels() -> impl Iterator<Item = (Kernels, usize)> {
    kernels().filter_map(|kernels| Some((kernels, kernels.tile_lanes()?)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    #[test]
    fn matmuls_of_any_shape(
        rows in 1usize..30, inputs in 1usize..40, outputs in 1usize..120, gap in 0usize..3,
        add: bool, clamp in clamps(), seed: u64,
    ) {
        kernels().for_each(|kernels| matmul(kernels, [rows, inputs, outputs, gap], add, clamp, seed));
    }

    #[test]
    fn depthwise_convolutions_of_any_shape(
        pixels in 1usize..14, channels in 1usize..150, taps in 0usize..11, gap in 0usize..3,
        row in prop_oneof![Just(1usize), Just(2), Just(3), Just(3), Just(5)],
        relu: bool, clamp in clamps(), seed: u64,
    ) {
        kernels().for_each(|kernels| depthwise(kernels, [pixels, channels, taps, gap, row], relu, clamp, seed));
    }

    #[test]
    fn interleaved_rows_of_any_shape(rows in 0usize..30, inputs in 0usize..40, gap in 0usize..9, seed: u64) {
        kernels().for_each(|kernels| interleave(kernels, rows, inputs, gap, seed));
    }

    #[test]
    fn quarters_of_any_length(len in 0usize..70, gap in 0usize..3, plus: bool, seed: u64) {
        kernels().for_each(|kernels| quarters(kernels, len, gap, if plus { 1.0 } else { -1.0 }, seed));
    }

    #[test]
    fn tiles_of_any_shape(
        channels in 0usize..70, panels in 1usize..4, row in 0usize..6, gap in 0usize..3, missing: u64,
        add: bool, clamp in clamps(), seed: u64,
    ) {
        for (kernels, lanes) in tile_kernels() {
            for span in [5, 6] {
                tile_weights(kernels, span, 1 + channels, row % span, gap, seed);
                tile_input(kernels, span, lanes + channels, gap, missing, seed);
                tile_output(kernels, span, [1 + channels, panels, gap], missing as u32, add, clamp, seed);
            }
        }
    }
}

/// Rows in bf16, as the kernels round them, against products of what one rounds by hand.
#[test]
fn matmuls_of_bf16() {
    let rounded = |x: f32| half::bf16::from_f32(x).to_f64();
    for kernels in kernels().filter(|kernels| kernels.isa().supports(Precision::Bf16)) {
        for (rows, inputs, outputs) in [(1, 1, 1), (3, 7, 50), (8, 64, 48), (13, 65, 97), (16, 200, 24)] {
            let (x, weights) = (noise(1, rows * inputs), noise(2, inputs * outputs));
            let (bias, words, clamp) = (noise(3, outputs), inputs.div_ceil(2), Clamp { low: -1.0, high: 1.0 });
            let padded = |row: &[f32]| [row, &vec![0.0; 2 * words - inputs]].concat();
            let rows_of = |outputs: Range<usize>| {
                Ok(weights[outputs.start * inputs..outputs.end * inputs].chunks(inputs).flat_map(padded).collect())
            };
            let packed = Packed::new(Precision::Bf16, kernels.panel_width(), 2 * words, &bias, rows_of).unwrap();
            let mut made = vec![UNTOUCHED; rows * words];
            for (x, to) in x.chunks(inputs).zip(made.chunks_mut(words)) {
                kernels.round(x, to);
            }
            let mut out = vec![0.0; rows * outputs];
            kernels.matmul(Matmul {
                runs: &[Run { first: 0, rows, sees: 0..1 }],
                segments: &[Segment { x: 0, input: 0, len: words }],
                x: &made,
                x_pitch: words,
                interleaved: false,
                weights: packed.weights(),
                starts: &[],
                residual: None,
                clamp,
                out: &mut out,
                out_pitch: outputs,
            });
            for (i, &actual) in out.iter().enumerate() {
                let (row, o) = (i / outputs, i % outputs);
                let product = |k| rounded(x[row * inputs + k]) * rounded(weights[o * inputs + k]);
                let expected = ((0..inputs).map(product).sum::<f64>() + f64::from(bias[o])).clamp(-1.0, 1.0);
                let off = (f64::from(actual) - expected).abs();
                assert!(off < 1e-6 * (inputs + 4) as f64, "{:?}: {actual} for {expected}", kernels.isa());
            }
        }
    }
}

/// To the nearest, to even between two, up to infinity; NaN stays NaN.
#[test]
fn rounding_to_bf16() {
    let cases = [
        (1.0, 1.0),
        (1.0 + 1.0 / 256.0, 1.0),
        (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
        (1.004, 1.0078125),
        (-0.0, -0.0),
        (f32::MAX, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
        (f32::NAN, f32::NAN),
    ];
    for kernels in kernels().filter(|kernels| kernels.isa().supports(Precision::Bf16)) {
        // Whole vectors and a rest, in which all have their own place.
        let noise = noise(1, 71).into_iter().map(|x| (x, half::bf16::from_f32(x).to_f32()));
        let pairs: Vec<(f32, f32)> = cases.into_iter().chain(noise).collect();
        let x: Vec<f32> = pairs.iter().map(|pair| pair.0).collect();
        let mut words = vec![UNTOUCHED; x.len().div_ceil(2)];
        kernels.round(&x, &mut words);
        for (i, (_, expected)) in pairs.iter().enumerate() {
            let actual = f32::from_bits(words[i / 2].to_bits() >> (16 * (i % 2)) << 16);
            let same = actual.to_bits() == expected.to_bits() || actual.is_nan() && expected.is_nan();
            assert!(same, "{:?}: {actual} for {expected}", kernels.isa());
        }
        assert_eq!(words[39].to_bits() >> 16, 0);
    }
}

/// Every height and width of a tile, with and without a ragged end.
#[test]
fn matmuls_of_every_tile() {
    for kernels in kernels() {
        for rows in 1..=2 * kernels.tile_rows() {
            for outputs in [1, 8, 15, 16, 17, 24, 32, 33, 40, 47, 48, 49, 64, 80, 96, 97] {
                matmul(kernels, [rows, 9, outputs, 1], true, Clamp { low: 0.0, high: 1.0 }, rows as u64);
            }
        }
    }
}

#[test]
fn nan_stays_nan() {
    for kernels in kernels() {
        for outputs in [kernels.panel_width(), 3] {
            let packed = Packed::new(Precision::F32, kernels.panel_width(), 1, &vec![0.0; outputs], |outputs| {
                Ok(vec![1.0; outputs.len()])
            })
            .unwrap();
            let mut out = vec![0.0; outputs];
            let clamp = Clamp { low: 0.0, high: 6.0 };
            let (x, residual) = (&[f32::NAN], None);
            kernels.matmul(Matmul {
                runs: &[Run { first: 0, rows: 1, sees: 0..1 }],
                segments: &[Segment { x: 0, input: 0, len: 1 }],
                x,
                x_pitch: 1,
                interleaved: false,
                weights: packed.weights(),
                starts: &[],
                residual,
                clamp,
                out: &mut out,
                out_pitch: outputs,
            });
            assert!(out.iter().all(|x| x.is_nan()), "{:?}", kernels.isa());
        }
        // A row of three taps that see neighbouring pixels, and one tap; the third pixel is NaN.
        for (channels, taps) in [(40, 3), (40, 1), (3, 3)] {
            let mut x = vec![1.0; 5 * channels];
            x[2 * channels..][..channels].fill(f32::NAN);
            let pixels = 6 - taps;
            let mut out = vec![0.0; pixels * channels];
            kernels.depthwise(Depthwise {
                runs: &[Run { first: 0, rows: pixels, sees: 0..taps }],
                taps: &[0, 1, 2].map(|i| Tap { input: i * channels, weight: i * channels }),
                channels,
                x: &x,
                x_step: channels,
                weights: &vec![1.0; 3 * channels],
                bias: &vec![0.0; channels],
                relu_input: true,
                clamp: Clamp { low: 0.0, high: 6.0 },
                out: &mut out,
                out_pitch: channels,
            });
            for (pixel, out) in out.chunks(channels).enumerate() {
                let nan = (pixel..pixel + taps).contains(&2);
                assert!(out.iter().all(|x| x.is_nan() == nan), "{:?}, {channels}, {taps}", kernels.isa());
            }
        }
    }
}

/// What the unsafe kernels rely on is checked in every call.
#[test]
fn slices_that_are_too_short_are_refused() {
    let kernels = Kernels::new(Isa::detect(), Precision::F32).unwrap();
    let (width, tile, channels) = (kernels.panel_width(), kernels.tile_rows(), 40);
    let weights =
        Packed::new(Precision::F32, width, 4, &vec![0.0; width], |outputs| Ok(vec![1.0; 4 * outputs.len()])).unwrap();
    let zeros = |len: usize| vec![0f32; len];

    let matmul = |x: usize, out: usize, start: usize, residual: usize, interleaved: bool| {
        let (x, start, residual) = (zeros(x), zeros(start), zeros(residual));
        kernels.matmul(Matmul {
            runs: &[Run { first: 0, rows: 2, sees: 0..1 }],
            segments: &[Segment { x: 0, input: 0, len: 4 }],
            x: &x,
            x_pitch: 4,
            interleaved,
            weights: weights.weights(),
            starts: &[&start],
            residual: Some((&residual, width)),
            clamp: Clamp::NONE,
            out: &mut zeros(out),
            out_pitch: width,
        });
    };
    let (apart, all) = (8, 2 * width);
    matmul(apart, all, all, all, false);
    matmul(4 * tile, all, all, all, true);
    refused("matmul: input", || matmul(apart - 1, all, all, all, false));
    refused("matmul: input", || matmul(4 * tile - 1, all, all, all, true));
    refused("matmul: output", || matmul(apart, all - 1, all, all, false));
    refused("matmul: starts", || matmul(apart, all, all - 1, all, false));
    refused("matmul: residual", || matmul(apart, all, all, all - 1, false));

    let interleave = |x: usize, out: usize| {
        kernels.interleave(Interleave { x: &zeros(x), pitch: 9, rows: 1, inputs: 9, out: &mut zeros(out) });
    };
    interleave(9, 9 * tile);
    refused("interleave: input", || interleave(8, 9 * tile));
    refused("interleave: output", || interleave(9, 9 * tile - 1));

    let depthwise = |x: usize, weights: usize, bias: usize, out: usize| {
        kernels.depthwise(Depthwise {
            runs: &[Run { first: 0, rows: 2, sees: 0..1 }],
            taps: &[Tap { input: 1, weight: 1 }],
            channels,
            x: &zeros(x),
            x_step: channels,
            weights: &zeros(weights),
            bias: &zeros(bias),
            relu_input: false,
            clamp: Clamp::NONE,
            out: &mut zeros(out),
            out_pitch: channels,
        });
    };
    depthwise(1 + 2 * channels, 1 + channels, channels, 2 * channels);
    refused("depthwise: input", || depthwise(2 * channels, 1 + channels, channels, 2 * channels));
    refused("depthwise: weights", || depthwise(1 + 2 * channels, channels, channels, 2 * channels));
    refused("depthwise: bias", || depthwise(1 + 2 * channels, 1 + channels, channels - 1, 2 * channels));
    refused("depthwise: output", || depthwise(1 + 2 * channels, 1 + channels, channels, 2 * channels - 1));

    let quarters = |x: usize, out: usize| {
        let x = zeros(x);
        kernels.quarters(Quarters { quarters: [&x; 4], sign: 1.0, len: 9, out: &mut zeros(out), step: 9 });
    };
    quarters(9, 36);
    refused("quarters: input", || quarters(8, 36));
    refused("quarters: output", || quarters(9, 35));

    if kernels.tile_lanes().is_none() {
        return;
    }
    let tile_weights = |panel: usize, out: usize| {
        let (panel, mut out) = (zeros(panel), zeros(out));
        kernels.tile_weights(TileWeights {
            span: 6,
            panel: &panel,
            width,
            inputs: 2,
            row: 5,
            out: &mut out,
            step: 2 * width,
        });
    };
    tile_weights(18 * width, 12 * width);
    refused("tile: weights", || tile_weights(18 * width - 1, 12 * width));
    refused("tile: transformed", || tile_weights(18 * width, 12 * width - 1));
    let tile_input = |x: usize, out: usize| {
        let (x, mut out, pixels) = (zeros(x), zeros(out), std::array::from_fn(|i| (i == 7).then_some(3)));
        kernels.tile_input(TileInput { span: 6, x: &x, pixels, channels, out: &mut out, step: channels });
    };
    tile_input(3 + channels, 36 * channels);
    refused("tile: input", || tile_input(2 + channels, 36 * channels));
    refused("tile: transformed", || tile_input(3 + channels, 36 * channels - 1));
    let tile_output = |products: usize, bias: usize, residual: usize, out: usize| {
        let (products, residual) = (zeros(products), zeros(residual));
        kernels.tile_output(TileOutput {
            span: 6,
            products: Products { data: &products, width, row_step: 6 * width, part_step: 36 * width, step: width },
            channels: width,
            bias: &zeros(bias),
            clamp: Clamp::NONE,
            pixels: std::array::from_fn(|i| (i == 7).then_some(1)),
            residual: Some((&residual, width)),
            out: &mut zeros(out),
            out_pitch: width,
        });
    };
    tile_output(36 * width, width, all, all);
    refused("tile: products", || tile_output(36 * width - 1, width, all, all));
    refused("tile: bias", || tile_output(36 * width, width - 1, all, all));
    refused("tile: residual", || tile_output(36 * width, width, all - 1, all));
    refused("tile: output", || tile_output(36 * width, width, all, all - 1));
}

fn refused(why: &str, call: impl FnOnce()) {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&why));
}
