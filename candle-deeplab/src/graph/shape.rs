//! From the size of the input to the size of every value.

use std::ops::Range;

use super::{Graph, Node, Op, Padding};
use crate::error::{Error, Result};

/// The largest input side that shapes are computed for; far above any image, far below an overflow.
const MAX_SIDE: usize = 1 << 16;

/// A sliding window along one axis, with its padding resolved for an input size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Number of taps.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Distance between taps.
    pub dilation: usize,
    /// Padding before the first element.
    pub before: usize,
    /// Padding after the last element.
    pub after: usize,
    /// Number of windows: the output's size.
    pub output: usize,
}

impl Window {
    /// Resolves a window over `input` elements; `None` where not a single window fits.
    pub fn new(input: usize, kernel: usize, stride: usize, dilation: usize, padding: Padding) -> Option<Self> {
        (stride > 0 && dilation > 0).then_some(())?;
        let span = dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
        let (before, after) = match padding {
            Padding::Symmetric(pad) => (pad, pad),
            Padding::Same => {
                let output = input.div_ceil(stride);
                let total = (output.checked_sub(1)?.checked_mul(stride)?.checked_add(span)?).saturating_sub(input);
                (total / 2, total - total / 2)
            }
        };
        let padded = input.checked_add(before)?.checked_add(after)?;
        let output = padded.checked_sub(span)? / stride + 1;
        Some(Self { kernel, stride, dilation, before, after, output })
    }

    /// Elements from the first tap of the first window to the last tap of the last one: all that is ever read.
    pub fn reach(&self) -> usize {
        (self.output - 1) * self.stride + self.dilation * (self.kernel - 1) + 1
    }

    /// The outputs whose tap number `tap` lies inside an input of `len` elements.
    pub(crate) fn inside(&self, len: usize, tap: usize) -> Range<usize> {
        let offset = tap * self.dilation;
        let first = self.before.saturating_sub(offset).div_ceil(self.stride);
        let end = match (len + self.before).checked_sub(offset + 1) {
            Some(last) => (last / self.stride + 1).min(self.output),
            None => 0,
        };
        first..end
    }

    /// The inputs, of `len`, between the first and the last that some outputs see.
    pub(crate) fn sees(&self, len: usize, outputs: Range<usize>) -> Range<usize> {
        let inside = |at: usize| at.saturating_sub(self.before).min(len);
        let reach =
            outputs.len().checked_sub(1).map_or(0, |last| last * self.stride + self.dilation * (self.kernel - 1) + 1);
        let first = outputs.start * self.stride;
        inside(first)..inside(first + reach)
    }

    /// Where a tap of an output lies in an input of `len` elements; `None` in the padding.
    pub(crate) fn input(&self, len: usize, output: usize, tap: usize) -> Option<usize> {
        (output * self.stride + tap * self.dilation).checked_sub(self.before).filter(|at| *at < len)
    }
}

impl Graph {
    /// Height and width of every value for an input of `height` × `width`, in node order.
    ///
    /// # Errors
    /// [`Error::Graph`] naming the first node that the input is too small (or too large) for.
    pub fn sizes(&self, height: usize, width: usize) -> Result<Vec<(usize, usize)>> {
        let mut sizes: Vec<(usize, usize)> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let fail = |reason: String| Error::Graph { node: node.path.clone(), reason };
            let input = |i: usize| node.inputs.get(i).map_or((height, width), |x| sizes[x.index()]);
            let size = match node.op {
                Op::Input => {
                    if !(1..=MAX_SIDE).contains(&height) || !(1..=MAX_SIDE).contains(&width) {
                        return Err(fail(format!("an input of {height}×{width} is outside 1…{MAX_SIDE} a side")));
                    }
                    (height, width)
                }
                Op::Conv(_) | Op::MaxPool { .. } => {
                    let (h, w) = input(0);
                    let windows = node.windows((h, w));
                    let (vertical, horizontal) =
                        windows.ok_or_else(|| fail(format!("its window does not fit an input of {h}×{w}")))?;
                    (vertical.output, horizontal.output)
                }
                Op::Add | Op::Concat | Op::Multiply => {
                    for i in 1..node.inputs.len() {
                        let per_channel = node.op == Op::Multiply && input(i) == (1, 1);
                        if input(i) != input(0) && !per_channel {
                            return Err(fail(format!("joins maps of {:?} and {:?}", input(0), input(i))));
                        }
                    }
                    input(0)
                }
                Op::Resize { .. } => input(1),
                Op::GlobalPool => (1, 1),
                Op::BatchNorm { .. } | Op::Activation(_) => input(0),
            };
            sizes.push(size);
        }
        Ok(sizes)
    }
}

impl Node {
    /// The vertical and horizontal windows of a convolution or pool over an input of this (height, width).
    pub fn windows(&self, (height, width): (usize, usize)) -> Option<(Window, Window)> {
        let (kernel, stride, dilation, padding) = match self.op {
            Op::Conv(c) => (c.kernel, c.stride, c.dilation, c.padding),
            Op::MaxPool { kernel, stride, padding } => (kernel, stride, 1, padding),
            _ => return None,
        };
        let window = |side| Window::new(side, kernel, stride, dilation, padding);
        Some((window(height)?, window(width)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_odd_row_after() {
        let even = Window::new(128, 3, 2, 1, Padding::Same).unwrap();
        assert_eq!((even.before, even.after, even.output), (0, 1, 64));
        let odd = Window::new(129, 3, 2, 1, Padding::Same).unwrap();
        assert_eq!((odd.before, odd.after, odd.output), (1, 1, 65));
    }

    #[test]
    fn same_padding_grows_with_the_rate() {
        let atrous = Window::new(33, 3, 1, 6, Padding::Same).unwrap();
        assert_eq!((atrous.before, atrous.after, atrous.output), (6, 6, 33));
    }

    #[test]
    fn a_window_that_does_not_fit_is_none() {
        assert_eq!(Window::new(2, 7, 1, 1, Padding::Symmetric(0)), None);
        assert_eq!(Window::new(0, 3, 1, 1, Padding::Same), None);
    }
}
