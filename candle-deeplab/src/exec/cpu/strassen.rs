//! Computes wide matmuls by one level of Strassen's algorithm: seven products of quarters instead of eight.
//!
//! It is Winograd's form, with 15 additions. A block's rows and inputs are cut into halves; so are the outputs, in
//! pairs of neighbouring full panels. Sums of quarters of the rows are computed once for a block; those of the weights
//! are computed for each pair of panels just before its products, so that they are never all in memory. The sums pay
//! for themselves where a block has many rows: such blocks are larger than others, and their rows come from the
//! last-level cache.

use super::aligned::Aligned;
use super::isa::{Kernels, Matmul, Quarters, Run, Segment, Weights};
use crate::exec::choice::Precision;
use crate::exec::fuse::Clamp;

/// The numbers of inputs and outputs from which on it is faster.
const MIN_INPUTS: usize = 512;
const MIN_OUTPUTS: usize = 512;
/// The number of rows of a block from which on it is faster.
const MIN_ROWS: usize = 128;
/// The most rows of a block, and the most floats of them; their sums take as many again.
const MAX_ROWS: usize = 576;
const MAX_FLOATS: usize = 400 << 10;

/// The most rows of a block; `None` where the plain algorithm is as fast, or where sums would be rounded to bf16.
pub(super) fn block_rows(weights: Weights) -> Option<usize> {
    let Weights { precision, inputs, outputs, .. } = weights;
    let rows = (MAX_FLOATS / inputs.max(1)).min(MAX_ROWS);
    let wide =
        precision == Precision::F32 && inputs >= MIN_INPUTS && outputs >= MIN_OUTPUTS && inputs.is_multiple_of(2);
    (wide && rows >= MIN_ROWS).then_some(rows)
}

/// Computes the matmul of one run of rows with all inputs side by side, in an even number of
/// [interleaved](super::isa::Interleave) groups, the last of which are padded with zeros. A few rows are multiplied in
/// the plain way. `scratch` is kept for the next call.
pub(super) fn matmul(kernels: Kernels, args: Matmul, scratch: &mut Aligned) {
    match args.runs.iter().map(|run| run.rows).sum() {
        rows if rows < MIN_ROWS => kernels.matmul(args),
        rows => by_quarters(kernels, args, rows, scratch),
    }
}

/// A quarter of a matrix: its rows, and the number of inputs that a row of the whole matrix has.
type Quarter<'a> = (&'a [f32], usize);

/// As [`matmul`], for more rows than one group has and an even number of inputs.
///
/// Names are the usual ones: A is the matrix of rows, B that of weights, C that of outputs; S and T are sums of
/// quarters of A and B.
fn by_quarters(kernels: Kernels, mut args: Matmul, rows: usize, scratch: &mut Aligned) {
    let Matmul { x, weights: Weights { inputs: all, outputs, width, panels, .. }, .. } = args;
    let (rows_at_once, inputs) = (kernels.rows_at_once(), all / 2);
    let half = rows.next_multiple_of(2 * rows_at_once) / 2;
    // A group is stored by inputs, so its first half is the first half of the inputs.
    let (group_len, s_len, b_len, c_len) = (rows_at_once * inputs, half * inputs, inputs * width, half * width);
    let (s, rest) = scratch.split(4 * s_len, 4 * b_len + 3 * c_len + width);
    for at in (0..s_len).step_by(group_len) {
        let [upper, lower] = [0, half * all].map(|half| x[half + 2 * at..].split_at(group_len));
        let quarters = [upper.0, upper.1, lower.0, lower.1];
        kernels.quarters(Quarters { quarters, sign: 1.0, len: group_len, out: &mut s[at..], step: s_len });
    }
    let [s1, s2, s3, s4] = std::array::from_fn(|i| (&s[i * s_len..], inputs));
    let [a11, a12, a22] = [0, group_len, half * all + group_len].map(|at| (&x[at..], all));
    let (t, rest) = rest.split_at_mut(4 * b_len);
    let (p, rest) = rest.split_at_mut(c_len);
    let (q, rest) = rest.split_at_mut(c_len);
    let (r, no_bias) = rest.split_at_mut(c_len);
    no_bias.fill(0.0);
    let halves = Halves { kernels, rows: half, inputs, width, no_bias };
    // The first row and the number of rows of each half: the lower one may have fewer.
    let (upper, lower) = ((0, half), (half, rows - half));
    // A last panel that is not full, or has no partner, is left to the plain algorithm, which skips empty vectors.
    let pairs = outputs / width / 2;
    for (pair, panels) in panels.chunks_exact(4 * b_len).take(pairs).enumerate() {
        let (left, right) = (2 * pair, 2 * pair + 1);
        let b @ [b11, b21, _, b22] = std::array::from_fn(|i| &panels[i * b_len..][..b_len]);
        kernels.quarters(Quarters { quarters: b, sign: -1.0, len: b_len, out: t, step: b_len });
        let [t3, t2, t1, t4] = std::array::from_fn(|i| &t[i * b_len..][..b_len]);
        halves.product(a11, b11, &[], p);
        halves.finish(Some((a12, b21)), &[p], upper.1, part(&mut args, upper.0, left));
        halves.product(s2, t2, &[p], q);
        halves.product(s3, t3, &[q], p);
        halves.finish(Some((a22, t4)), &[p], lower.1, part(&mut args, lower.0, left));
        halves.product(s1, t1, &[], r);
        halves.finish(None, &[p, r], lower.1, part(&mut args, lower.0, right));
        halves.finish(Some((s4, b22)), &[q, r], upper.1, part(&mut args, upper.0, right));
    }
    for panel in 2 * pairs..outputs.div_ceil(width) {
        kernels.matmul(part(&mut args, 0, panel));
    }
}

/// The part of a matmul that computes one panel's outputs, for the rows of the result from `row` on.
fn part<'a>(args: &'a mut Matmul, row: usize, panel: usize) -> Matmul<'a> {
    let (Weights { precision, inputs, outputs, width, panels, bias }, pitch) = (args.weights, args.out_pitch);
    let first = panel * width;
    Matmul {
        weights: Weights {
            precision,
            inputs,
            outputs: width.min(outputs - first),
            width,
            panels: &panels[first * inputs..][..width * inputs],
            bias: &bias[first..][..width],
        },
        residual: args.residual.map(|(x, pitch)| (&x[row * pitch + first..], pitch)),
        out: &mut args.out[row * pitch + first..],
        ..*args
    }
}

/// Products of half the rows and half the inputs.
struct Halves<'a> {
    kernels: Kernels,
    rows: usize,
    inputs: usize,
    /// Outputs of a panel.
    width: usize,
    no_bias: &'a [f32],
}

impl Halves<'_> {
    /// `x · panel + Σ starts`
    fn product(&self, x: Quarter, panel: &[f32], starts: &[&[f32]], out: &mut [f32]) {
        let &Self { inputs, width, no_bias: bias, .. } = self;
        let part = Matmul {
            runs: &[],
            segments: &[],
            x: &[],
            x_pitch: 0,
            interleaved: true,
            weights: Weights { precision: Precision::F32, inputs, outputs: width, width, panels: panel, bias },
            starts: &[],
            residual: None,
            clamp: Clamp::NONE,
            out,
            out_pitch: width,
        };
        self.finish(Some((x, panel)), starts, self.rows, part);
    }

    /// Computes `rows` rows of a part of the result: a product of halves, if there is one, plus the earlier sums
    /// `starts`.
    fn finish(&self, product: Option<(Quarter, &[f32])>, starts: &[&[f32]], rows: usize, part: Matmul) {
        let inputs = if product.is_some() { self.inputs } else { 0 };
        let ((x, x_pitch), panels) = product.unwrap_or_default();
        self.kernels.matmul(Matmul {
            runs: &[Run { first: 0, rows, sees: 0..1 }],
            segments: &[Segment { x: 0, input: 0, len: inputs }],
            x,
            x_pitch,
            weights: Weights { inputs, panels, ..part.weights },
            starts,
            ..part
        });
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;
    use crate::exec::choice::Isa;
    use crate::exec::cpu::isa::tests::{UNTOUCHED, noise};
    use crate::exec::cpu::isa::{Interleave, Packed};

    /// Compares with sums in double precision.
    fn check(kernels: Kernels, [rows, inputs, outputs, gap]: [usize; 4], add: bool, clamp: Clamp, seed: u64) {
        let (x_pitch, out_pitch) = (inputs + gap, outputs + gap);
        let (x, weights) = (noise(seed, rows * x_pitch), noise(seed ^ 1, inputs * outputs));
        let (bias, residual) = (noise(seed ^ 2, outputs), noise(seed ^ 3, rows * out_pitch));
        let rows_of = |outputs: Range<usize>| Ok(weights[outputs.start * inputs..outputs.end * inputs].to_vec());
        let packed = Packed::new(Precision::F32, kernels.panel_width(), inputs, &bias, rows_of).unwrap();
        let mut out = vec![UNTOUCHED; rows * out_pitch];
        let mut groups = vec![0.0; rows.next_multiple_of(2 * kernels.rows_at_once()) * inputs];
        kernels.interleave(Interleave { x: &x, pitch: x_pitch, rows, inputs, out: &mut groups });
        let args = Matmul {
            runs: &[Run { first: 0, rows, sees: 0..1 }],
            segments: &[Segment { x: 0, input: 0, len: inputs }],
            x: &groups,
            x_pitch: inputs,
            interleaved: true,
            weights: packed.weights(),
            starts: &[],
            residual: add.then_some((&residual, out_pitch)),
            clamp,
            out: &mut out,
            out_pitch,
        };
        by_quarters(kernels, args, rows, &mut Aligned::default());
        for (i, &actual) in out.iter().enumerate() {
            let (row, output) = (i / out_pitch, i % out_pitch);
            if output >= outputs {
                assert_eq!(actual, UNTOUCHED);
                continue;
            }
            let product = |k| f64::from(x[row * x_pitch + k]) * f64::from(weights[output * inputs + k]);
            let sum: f64 = (0..inputs).map(product).sum::<f64>() + f64::from(bias[output]);
            let sum = if add { sum + f64::from(residual[i]) } else { sum };
            let off = (f64::from(actual) - sum.clamp(clamp.low.into(), clamp.high.into())).abs();
            assert!(off < 4e-6 * (inputs + 4) as f64, "{:?}: off by {off}", kernels.isa());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

        /// Odd numbers of rows, inputs that are not whole vectors, a panel without a partner, a last panel that is not
        /// full.
        #[test]
        fn matmuls_of_any_shape(
            rows in 9usize..60, half in 1usize..40, outputs in 1usize..200, gap in 0usize..3,
            add: bool, relu: bool, seed: u64,
        ) {
            let clamp = if relu { Clamp { low: 0.0, high: 6.0 } } else { Clamp::NONE };
            for kernels in Isa::available().filter_map(|isa| Kernels::new(isa, Precision::F32).ok()) {
                check(kernels, [rows, 2 * half, outputs, gap], add, clamp, seed);
            }
        }
    }
}
