//! The sliding windows of convolutions and pools.

use std::ops::Range;

use super::size::Size;

/// The padding around a window operation's input: zeros, or −∞ for pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The same number of rows or columns on all four sides (PyTorch, and TensorFlow's `conv2d_same`).
    Symmetric(usize),
    /// TensorFlow's SAME: as many as `ceil(size / stride)` results need; an odd one goes to the bottom and right.
    Same,
}

/// The windows of a convolution or a pool, square and not yet fitted to an input's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Side of the kernel: pixels that a window sees along an axis.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Distance between the pixels that a window sees (the atrous rate).
    pub dilation: usize,
    /// Rows and columns around the input.
    pub padding: Padding,
}

impl Windows {
    /// The vertical and the horizontal windows over an input; `None` where no window fits.
    pub fn over(self, Size { height, width }: Size) -> Option<(Window, Window)> {
        let window = |side| Window::new(side, self.kernel, self.stride, self.dilation, self.padding);
        Some((window(height)?, window(width)?))
    }

    /// Whether each window sees only the pixel at its own place, whatever the input's size.
    pub fn is_pointwise(self) -> bool {
        let padded = !matches!(self.padding, Padding::Same | Padding::Symmetric(0));
        self.kernel == 1 && self.stride == 1 && !padded
    }
}

/// Sliding windows along one axis, fitted to an input's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The number of elements that a window sees: the side of the kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Distance between the elements that a window sees (the atrous rate).
    pub dilation: usize,
    /// Padding before the first element.
    pub before: usize,
    /// Padding after the last element.
    pub after: usize,
    /// The number of windows, which is the output's size.
    pub output: usize,
}

impl Window {
    /// Fits windows to an input of `input` elements; `None` where no window fits.
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

    /// The number of elements from the first that the first window sees to the last that the last one sees, padding
    /// included: all that is ever read.
    pub fn reach(&self) -> usize {
        self.reach_of(self.output)
    }

    fn reach_of(&self, windows: usize) -> usize {
        windows.checked_sub(1).map_or(0, |last| last * self.stride + self.dilation * (self.kernel - 1) + 1)
    }

    /// Whether each window sees only the element at its own place.
    pub(crate) fn is_pointwise(&self) -> bool {
        (self.kernel, self.stride, self.before, self.after) == (1, 1, 0, 0)
    }

    /// The windows whose element number `at` lies inside an input of `len` elements, not in its padding.
    pub(crate) fn inside(&self, len: usize, at: usize) -> Range<usize> {
        let offset = at * self.dilation;
        let first = self.before.saturating_sub(offset).div_ceil(self.stride);
        let end = match (len + self.before).checked_sub(offset + 1) {
            Some(last) => (last / self.stride + 1).min(self.output),
            None => 0,
        };
        first..end
    }

    /// The range of inputs, of `len`, that some of the windows see.
    pub(crate) fn sees(&self, len: usize, windows: Range<usize>) -> Range<usize> {
        let inside = |at: usize| at.saturating_sub(self.before).min(len);
        let first = windows.start * self.stride;
        inside(first)..inside(first + self.reach_of(windows.len()))
    }

    /// The index among `len` inputs of element number `at` of a window; `None` where it lies in the padding.
    pub(crate) fn input(&self, len: usize, window: usize, at: usize) -> Option<usize> {
        (window * self.stride + at * self.dilation).checked_sub(self.before).filter(|input| *input < len)
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

    /// `Windows::is_pointwise` agrees with `Window::is_pointwise` at every size.
    #[test]
    fn pointwise_windows_are_so_over_any_input() {
        for (kernel, stride, padding) in [
            (1, 1, Padding::Same),
            (1, 1, Padding::Symmetric(0)),
            (1, 1, Padding::Symmetric(1)),
            (1, 2, Padding::Same),
            (3, 1, Padding::Same),
        ] {
            let windows = Windows { kernel, stride, dilation: 2, padding };
            for size in [Size::new(1, 1), Size::new(4, 7)] {
                let (vertical, horizontal) = windows.over(size).unwrap();
                assert_eq!(vertical.is_pointwise() && horizontal.is_pointwise(), windows.is_pointwise(), "{windows:?}");
            }
        }
    }
}
