//! Depthwise convolutions.

use proptest::prelude::*;

use super::{UNTOUCHED, clamps, kernels, noise};
use crate::exec::cpu::isa::{Depthwise, Kernels, Neighbour, Run};
use crate::exec::fuse::Clamp;

/// Neighbours are `gap` apart, or in rows of `row` adjacent pixels.
fn depthwise(
    kernels: Kernels,
    [pixels, channels, count, gap, row]: [usize; 5],
    relu_input: bool,
    clamp: Clamp,
    seed: u64,
) {
    let (step, out_pitch) = (channels + 2 * gap, channels + gap);
    let weights = noise(seed, count * channels);
    let input = |i: usize| i / row * gap + i % row * step;
    let neighbours: Vec<Neighbour> = (0..count).map(|i| Neighbour { input: input(i), weight: i * channels }).collect();
    let x = noise(seed ^ 1, (pixels + row) * step + neighbours.len() * gap + channels);
    let bias = noise(seed ^ 2, channels);
    let mut out = vec![UNTOUCHED; pixels * out_pitch];
    // Two runs; the second does not see the last neighbour.
    let (half, seen) = (pixels / 2, neighbours.len().saturating_sub(1));
    let second = neighbours.iter().map(|n| Neighbour { input: n.input + half * step, ..*n });
    let both: Vec<Neighbour> = neighbours.iter().copied().chain(second).collect();
    let runs = [
        Run { first: 0, rows: half, sees: 0..neighbours.len() },
        Run { first: half, rows: pixels - half, sees: neighbours.len()..neighbours.len() + seen },
    ];
    kernels.depthwise(Depthwise {
        runs: &runs,
        neighbours: &both,
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
        let product = |n: &Neighbour| {
            let x = x[n.input + pixel * step + c];
            f64::from(if relu_input { x.max(0.0) } else { x }) * f64::from(weights[n.weight + c])
        };
        let seen = if pixel < half { &neighbours[..] } else { &neighbours[..seen] };
        let sum: f64 = seen.iter().map(product).sum::<f64>() + f64::from(bias[c]);
        let expected = sum.clamp(clamp.low.into(), clamp.high.into());
        let off = (f64::from(actual) - expected).abs();
        assert!(off < 1e-6 * (seen.len() + 4) as f64, "{:?}: {actual} for {expected}", kernels.isa());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    #[test]
    fn depthwise_convolutions_of_any_shape(
        pixels in 1usize..14, channels in 1usize..150, neighbours in 0usize..11, gap in 0usize..3,
        row in prop_oneof![Just(1usize), Just(2), Just(3), Just(3), Just(5)],
        relu: bool, clamp in clamps(), seed: u64,
    ) {
        kernels().for_each(|kernels| depthwise(kernels, [pixels, channels, neighbours, gap, row], relu, clamp, seed));
    }
}

#[test]
fn nan_stays_nan_in_a_depthwise_convolution() {
    for kernels in kernels() {
        // Windows of three columns, and of one; the third pixel is NaN.
        for (channels, columns) in [(40, 3), (40, 1), (3, 3)] {
            let mut x = vec![1.0; 5 * channels];
            x[2 * channels..][..channels].fill(f32::NAN);
            let pixels = 6 - columns;
            let mut out = vec![0.0; pixels * channels];
            kernels.depthwise(Depthwise {
                runs: &[Run { first: 0, rows: pixels, sees: 0..columns }],
                neighbours: &[0, 1, 2].map(|i| Neighbour { input: i * channels, weight: i * channels }),
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
                let nan = (pixel..pixel + columns).contains(&2);
                assert!(out.iter().all(|x| x.is_nan() == nan), "{:?}, {channels}, {columns}", kernels.isa());
            }
        }
    }
}
