//! Matmuls, and the preparation of their rows and weights.

use std::ops::Range;

use half::bf16;
use proptest::prelude::*;

use super::{UNTOUCHED, clamps, kernels, noise};
use crate::exec::choice::Precision;
use crate::exec::cpu::isa::{Interleave, Kernels, Matmul, Packed, Quarters, Run, Segment};
use crate::exec::fuse::Clamp;

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
    let rows_at_once = kernels.rows_at_once();
    let mut groups = vec![UNTOUCHED; rows.next_multiple_of(rows_at_once) * inputs];
    kernels.interleave(Interleave { x: &x, pitch: x_pitch, rows, inputs, out: &mut groups });
    out.fill(UNTOUCHED);
    kernels.matmul(Matmul {
        runs: &[Run { first: 0, rows, sees: 0..2 }],
        segments: &[(0, part), (part, inputs - part)].map(|(input, len)| Segment {
            x: input * rows_at_once,
            input,
            len,
        }),
        x: &groups,
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
    let (pitch, group) = (inputs + gap, kernels.rows_at_once());
    let x = noise(seed, rows * pitch);
    let len = rows.next_multiple_of(group) * inputs;
    let mut out = vec![UNTOUCHED; len + gap];
    kernels.interleave(Interleave { x: &x, pitch, rows, inputs, out: &mut out });
    for (i, &actual) in out.iter().enumerate() {
        if i >= len {
            assert_eq!(actual, UNTOUCHED);
            continue;
        }
        let (row, input) = (i / (group * inputs) * group + i % group, i % (group * inputs) / group);
        assert_eq!(actual, if row < rows { x[row * pitch + input] } else { 0.0 }, "{:?}", kernels.isa());
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
    fn interleaved_rows_of_any_shape(rows in 0usize..30, inputs in 0usize..40, gap in 0usize..9, seed: u64) {
        kernels().for_each(|kernels| interleave(kernels, rows, inputs, gap, seed));
    }

    #[test]
    fn quarters_of_any_length(len in 0usize..70, gap in 0usize..3, plus: bool, seed: u64) {
        kernels().for_each(|kernels| quarters(kernels, len, gap, if plus { 1.0 } else { -1.0 }, seed));
    }
}

/// Rows that the kernels round to bf16, against products of numbers that are rounded one by one.
#[test]
fn matmuls_of_bf16() {
    let rounded = |x: f32| bf16::from_f32(x).to_f64();
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

/// To the nearest, ties to even, and up to infinity; NaN stays NaN.
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
        // Whole vectors and a rest; each number has a place of its own.
        let noise = noise(1, 71).into_iter().map(|x| (x, bf16::from_f32(x).to_f32()));
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

/// Every number of rows and vectors that a kernel computes at once, with and without a partial vector.
#[test]
fn matmuls_of_every_number_of_rows_and_vectors() {
    for kernels in kernels() {
        for rows in 1..=2 * kernels.rows_at_once() {
            for outputs in [1, 8, 15, 16, 17, 24, 32, 33, 40, 47, 48, 49, 64, 80, 96, 97] {
                matmul(kernels, [rows, 9, outputs, 1], true, Clamp { low: 0.0, high: 1.0 }, rows as u64);
            }
        }
    }
}

#[test]
fn nan_stays_nan_in_a_matmul() {
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
    }
}
