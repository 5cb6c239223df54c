//! Weights in the order in which a matmul reads them.

use std::ops::Range;

use rayon::prelude::*;

use super::bf16::{per_word, word};
use crate::error::Result;
use crate::exec::choice::Precision;
use crate::exec::cpu::aligned::Aligned;

/// How many words of a row are packed at once.
const BLOCK: usize = 64;

/// The weights of a matmul: panels of `width` outputs, `[panel][input][width]`, and a bias for each output. The last
/// panel is padded with zeros.
#[derive(Debug)]
pub(in super::super) struct Packed {
    precision: Precision,
    /// Words of an output's weights.
    words: usize,
    outputs: usize,
    width: usize,
    panels: Aligned,
    bias: Aligned,
}

impl Packed {
    /// The number of inputs, rounded up to whole 32-bit words.
    pub(in super::super) fn padded(precision: Precision, inputs: usize) -> usize {
        inputs.next_multiple_of(per_word(precision))
    }

    /// Packs a matrix from its rows: `rows` returns the weights of some outputs, one output after another, each with
    /// its inputs padded with zeros to [whole words](Self::padded).
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
            // A few words of all rows are packed at a time, so that they and their destinations stay in the L1 cache.
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

    /// A bias for each output, padded to whole panels.
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

/// A view of [`Packed`] weights.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Weights<'a> {
    pub(in super::super) precision: Precision,
    /// The number of 32-bit words: two bf16 numbers count as one input.
    pub(in super::super) inputs: usize,
    pub(in super::super) outputs: usize,
    pub(in super::super) width: usize,
    pub(in super::super) panels: &'a [f32],
    pub(in super::super) bias: &'a [f32],
}

impl<'a> Weights<'a> {
    /// The weights, bias, first output and number of outputs of each panel.
    pub(super) fn panels(self) -> impl Iterator<Item = (&'a [f32], &'a [f32], usize, usize)> {
        let biases = self.bias.chunks_exact(self.width);
        biases.enumerate().map(move |(index, bias)| {
            let (first, len) = (index * self.width, self.width * self.inputs);
            (&self.panels[index * len..][..len], bias, first, self.width.min(self.outputs - first))
        })
    }
}
