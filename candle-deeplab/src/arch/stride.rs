//! Turns strides that would lead past the output stride into dilation.

use crate::config::DilationStart;

/// Keeps a backbone at its output stride: past it, a stride becomes a dilation (the "atrous" in DeepLab).
///
/// TensorFlow's rule ([`DilationStart::NextUnit`], `slim/nets/resnet_utils.stack_blocks_dense`): the layer that would
/// have gone beyond the output stride runs at stride 1 with the current rate; the rate is multiplied from the next
/// layer on.
#[derive(Debug)]
pub(super) struct OutputStride {
    target: usize,
    start: DilationStart,
    reached: usize,
    rate: usize,
    /// The rate at the beginning of the stage.
    stage_rate: usize,
    /// Whether the next layer is the first of its stage.
    stage_is_new: bool,
}

impl OutputStride {
    /// Starts after a stem with the total stride `reached`.
    pub(super) fn new(target: usize, reached: usize, start: DilationStart) -> Self {
        Self { target, start, reached, rate: 1, stage_rate: 1, stage_is_new: true }
    }

    /// Begins a new stage.
    pub(super) fn stage(&mut self) {
        self.stage_rate = self.rate;
        self.stage_is_new = true;
    }

    /// The rate of the layers that follow.
    pub(super) fn rate(&self) -> usize {
        self.rate
    }

    /// The stride and dilation of the next layer, whose own stride is `stride`.
    pub(super) fn next(&mut self, stride: usize) -> (usize, usize) {
        let before = self.rate;
        let kept = if self.reached == self.target {
            self.rate = before.saturating_mul(stride);
            1
        } else {
            self.reached = self.reached.saturating_mul(stride);
            stride
        };
        let rate = match self.start {
            DilationStart::NextUnit => before,
            DilationStart::Block => self.rate,
            DilationStart::NextStage => self.stage_rate,
            DilationStart::FirstUnits if self.stage_is_new => self.rate,
            DilationStart::FirstUnits => 1,
        };
        self.stage_is_new = false;
        (kept, rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strides of Xception-65's entry blocks, one middle block and the two exit blocks, behind a stem of stride 2.
    fn xception_65(target: usize) -> Vec<(usize, usize)> {
        let mut stride = OutputStride::new(target, 2, DilationStart::NextUnit);
        [2, 2, 2, 1, 2, 1].map(|s| stride.next(s)).to_vec()
    }

    #[test]
    fn rates_follow_the_table_of_the_reference() {
        assert_eq!(xception_65(32), [(2, 1), (2, 1), (2, 1), (1, 1), (2, 1), (1, 1)]);
        assert_eq!(xception_65(16), [(2, 1), (2, 1), (2, 1), (1, 1), (1, 1), (1, 2)]);
        assert_eq!(xception_65(8), [(2, 1), (2, 1), (1, 1), (1, 2), (1, 2), (1, 4)]);
    }

    /// Rates of two stages of two units whose first would have a stride, and of one stage with one unit without a
    /// stride, at output stride 8.
    fn rates(start: DilationStart) -> Vec<usize> {
        let mut stride = OutputStride::new(8, 8, start);
        let mut rates = Vec::new();
        for stage in [&[2, 1][..], &[2, 1], &[1]] {
            stride.stage();
            rates.extend(stage.iter().map(|&s| stride.next(s).1));
        }
        rates
    }

    #[test]
    fn code_bases_differ_in_where_dilation_starts() {
        assert_eq!(rates(DilationStart::NextUnit), [1, 2, 2, 4, 4]);
        assert_eq!(rates(DilationStart::Block), [2, 2, 4, 4, 4]);
        assert_eq!(rates(DilationStart::NextStage), [1, 1, 2, 2, 4]);
        assert_eq!(rates(DilationStart::FirstUnits), [2, 1, 4, 1, 4]);
    }
}
