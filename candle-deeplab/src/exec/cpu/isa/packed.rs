//! Weights in the order in which a matmul reads them.

use std::ops::Range;

use rayon::prelude::*;

use super::bf16::{per_word, word};
use crate::error::Result;
use crate::exec::choice::Precision;
use crate::exec::cpu::aligned::Aligned;

/// Words of a row that are packed at once.
const BLOCK: usize = 64;

/// The weights of a matmul: panels of `width` outputs, `[panel][input][width]`, and a bias for each output. The last panel is
/// filled up with zeros.
#[derive(Debug)]
pub(in super::super) struct Packed {
    precision: Precision,
    /// Of an output.
    words: usize,
    outputs: usize,
    width: usize,
    panels: Aligned,
    bias: Aligned,
}

impl Packed {
    /// So many inputs, filled up with zeros to whole words of 32 bits.
    pub(in super::super) fn padded(precision: Precision, inputs: usize) -> usize {
        inputs.next_multiple_of(per_word(precision))
    }

    /// Packs a matrix from its rows: `rows` gives the weights of some outputs, one output after the other, each with its
    /// inputs filled up to [whole words](Self::padded).
    ///
    /// # Errors
    /// Those of `rows`.
    pub(in super::super) fn new(
        precision: Precision,
        width: usize,
        inputs: usize,
        bias: &[f32],
        rows: impl Fn(Range<usize>) -> Result<Vec<f32>> + Sync,
    ) -> Result<Self> {
        debug_assert_eq!(inputs, Self::padded(precision, inputs));
        let (outputs, words) = (bias.len(), inputs / per_word(precision));
        let padded = outputs.next_multiple_of(width);
        let (mut panels, mut padded_bias) = (Aligned::zeroed(padded * words), Aligned::zeroed(padded));
        let chunks = panels.par_chunks_exact_mut((width * words).max(1)).enumerate();
        chunks.try_for_each(|(index, panel)| -> Result<()> {
            let rows = rows(index * width..outputs.min((index + 1) * width))?;
            // A few words of all rows at a time, so that they and their places stay in the nearest cache.
            for (block, panel) in panel.chunks_mut(BLOCK * width).enumerate() {
                for (column, row) in rows.chunks_exact(inputs).enumerate() {
                    let (places, row) =
                        (panel[column..].iter_mut().step_by(width), &row[block * BLOCK * per_word(precision)..]);
                    match precision {
                        Precision::F32 => places.zip(row).for_each(|(place, weight)| *place = *weight),
                        Precision::Bf16 => places.zip(row.as_chunks().0).for_each(|(place, pair)| *place = word(*pair)),
                    }
                }
            }
            Ok(())
        })?;
        padded_bias[..outputs].copy_from_slice(bias);
        Ok(Self { precision, words, outputs, width, panels, bias: padded_bias })
    }

    pub(in super::super) fn precision(&self) -> Precision {
        self.precision
    }

    pub(in super::super) fn inputs(&self) -> usize {
        self.words * per_word(self.precision)
    }

    pub(in super::super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Outputs of a panel.
    pub(in super::super) fn width(&self) -> usize {
        self.width
    }

    /// One for each output, filled up to whole panels.
    pub(in super::super) fn bias(&self) -> &[f32] {
        &self.bias
    }

    pub(in super::super) fn weights(&self) -> Weights<'_> {
        let Self { precision, words, outputs, width, ref panels, ref bias } = *self;
        Weights { precision, inputs: words, outputs, width, panels, bias }
    }

    /// The weights of a panel.
    pub(in super::super) fn panel(&self, index: usize) -> &[f32] {
        let len = self.width * self.words;
        &self.panels[index * len..][..len]
    }
}

/// The weights of a matmul as [`Packed`] has them.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Weights<'a> {
    pub(in super::super) precision: Precision,
    /// Words of 32 bits: two numbers of bf16 count as one.
    pub(in super::super) inputs: usize,
    pub(in super::super) outputs: usize,
    pub(in super::super) width: usize,
    pub(in super::super) panels: &'a [f32],
    pub(in super::super) bias: &'a [f32],
}

impl<'a> Weights<'a> {
    /// The panels: weights, bias, first output and number of outputs of each.
    pub(super) fn panels(self) -> impl Iterator<Item = (&'a [f32], &'a [f32], usize, usize)> {
        let biases = self.bias.chunks_exact(self.width);
        biases.enumerate().map(move |(index, bias)| {
            let (first, len) = (index * self.width, self.width * self.inputs);
            (&self.panels[index * len..][..len], bias, first, self.width.min(self.outputs - first))
        })
    }
}
