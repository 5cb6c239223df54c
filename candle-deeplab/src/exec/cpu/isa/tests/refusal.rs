//! Everything that the unsafe kernels rely on is checked in every call.

use super::{Isa, Kernels, Precision};
use crate::exec::cpu::isa::{
    Depthwise, Interleave, Matmul, Neighbour, Packed, PatchInput, PatchOutput, PatchWeights, Products, Quarters, Run,
    Segment,
};
use crate::exec::fuse::Clamp;

#[test]
fn slices_that_are_too_short_are_refused() {
    let kernels = Kernels::new(Isa::detect(), Precision::F32).unwrap();
    let (width, rows, channels) = (kernels.panel_width(), kernels.rows_at_once(), 40);
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
    matmul(4 * rows, all, all, all, true);
    refused("matmul: input", || matmul(apart - 1, all, all, all, false));
    refused("matmul: input", || matmul(4 * rows - 1, all, all, all, true));
    refused("matmul: output", || matmul(apart, all - 1, all, all, false));
    refused("matmul: starts", || matmul(apart, all, all - 1, all, false));
    refused("matmul: residual", || matmul(apart, all, all, all - 1, false));

    let interleave = |x: usize, out: usize| {
        kernels.interleave(Interleave { x: &zeros(x), pitch: 9, rows: 1, inputs: 9, out: &mut zeros(out) });
    };
    interleave(9, 9 * rows);
    refused("interleave: input", || interleave(8, 9 * rows));
    refused("interleave: output", || interleave(9, 9 * rows - 1));

    let depthwise = |x: usize, weights: usize, bias: usize, out: usize| {
        kernels.depthwise(Depthwise {
            runs: &[Run { first: 0, rows: 2, sees: 0..1 }],
            neighbours: &[Neighbour { input: 1, weight: 1 }],
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

    if kernels.patch_lanes().is_none() {
        return;
    }
    let patch_weights = |panel: usize, out: usize| {
        let (panel, mut out) = (zeros(panel), zeros(out));
        kernels.patch_weights(PatchWeights {
            span: 6,
            panel: &panel,
            width,
            inputs: 2,
            row: 5,
            out: &mut out,
            step: 2 * width,
        });
    };
    patch_weights(18 * width, 12 * width);
    refused("patch: weights", || patch_weights(18 * width - 1, 12 * width));
    refused("patch: transformed", || patch_weights(18 * width, 12 * width - 1));
    let patch_input = |x: usize, out: usize| {
        let (x, mut out, pixels) = (zeros(x), zeros(out), std::array::from_fn(|i| (i == 7).then_some(3)));
        kernels.patch_input(PatchInput { span: 6, x: &x, pixels, channels, out: &mut out, step: channels });
    };
    patch_input(3 + channels, 36 * channels);
    refused("patch: input", || patch_input(2 + channels, 36 * channels));
    refused("patch: transformed", || patch_input(3 + channels, 36 * channels - 1));
    let patch_output = |products: usize, bias: usize, residual: usize, out: usize| {
        let (products, residual) = (zeros(products), zeros(residual));
        kernels.patch_output(PatchOutput {
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
    patch_output(36 * width, width, all, all);
    refused("patch: products", || patch_output(36 * width - 1, width, all, all));
    refused("patch: bias", || patch_output(36 * width, width - 1, all, all));
    refused("patch: residual", || patch_output(36 * width, width, all - 1, all));
    refused("patch: output", || patch_output(36 * width, width, all, all - 1));
}

fn refused(why: &str, call: impl FnOnce()) {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&why));
}
