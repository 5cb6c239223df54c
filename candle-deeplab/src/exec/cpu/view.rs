//! Feature maps as the kernels see them: channels last, and possibly only some channels or some rows of a larger map.

use rayon::prelude::*;

use super::denormals::Flushed;

/// A map `[N, H, W, C]` in a slice: the channels of a pixel are adjacent, and pixels are `pitch` apart.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// Begins at the first channel of pixel number `first`.
    pub(super) data: &'a [f32],
    pub(super) first: usize,
    pub(super) pitch: usize,
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl<'a> View<'a> {
    /// The number of a pixel, counted through all images.
    pub(super) fn pixel(&self, n: usize, y: usize, x: usize) -> usize {
        (n * self.height + y) * self.width + x
    }

    /// Where in `data` the channels of a pixel lie.
    pub(super) fn place(&self, pixel: usize) -> usize {
        (pixel - self.first) * self.pitch
    }

    /// The channels of a pixel.
    pub(super) fn at(&self, pixel: usize) -> &'a [f32] {
        &self.from(pixel)[..self.channels]
    }

    /// All data from the channels of a pixel on.
    pub(super) fn from(&self, pixel: usize) -> &'a [f32] {
        &self.data[self.place(pixel)..]
    }

    /// Part number `index` of the channels, which are cut into `parts` equal parts.
    pub(super) fn part(&self, index: usize, parts: usize) -> Self {
        let channels = self.channels / parts;
        Self { data: &self.data[index * channels..], channels, ..*self }
    }
}

/// Rows of a map that are being written: whole pixels, whose channels from `offset` on belong to the writer.
pub(super) struct ViewMut<'a> {
    pub(super) data: &'a mut [f32],
    /// The number of the first pixel.
    pub(super) first: usize,
    pub(super) pitch: usize,
    pub(super) offset: usize,
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl ViewMut<'_> {
    pub(super) fn pixels(&self) -> usize {
        self.data.len() / self.pitch
    }

    /// Part number `index` of the channels, which are cut into `parts` equal parts.
    pub(super) fn part(&mut self, index: usize, parts: usize) -> ViewMut<'_> {
        let channels = self.channels / parts;
        ViewMut { data: self.data, offset: self.offset + index * channels, channels, ..*self }
    }

    /// Calls `write(pixel, channels)` for every pixel, in parallel.
    pub(super) fn for_each_pixel(self, write: impl Fn(usize, &mut [f32]) + Sync) {
        let Self { data, first, pitch, offset, channels, width, .. } = self;
        data.par_chunks_mut(pitch * width).enumerate().for_each(|(row, data)| {
            let _flushed = Flushed::here();
            for (x, pixel) in data.chunks_exact_mut(pitch).enumerate() {
                write(first + row * width + x, &mut pixel[offset..offset + channels]);
            }
        });
    }
}

/// The image, row and column of a pixel number, in maps of this height and width.
pub(super) fn position(pixel: usize, height: usize, width: usize) -> (usize, usize, usize) {
    (pixel / (height * width), pixel / width % height, pixel % width)
}

/// Floats from one pixel with this number of channels to the next. Rows of a matmul begin at cache lines, but not a
/// multiple of 512 floats apart, or the rows that a kernel reads at once would compete for the same few cache sets.
pub(super) fn row_pitch(channels: usize) -> usize {
    match channels.next_multiple_of(16) {
        _ if channels < 16 => channels,
        pitch if pitch.is_multiple_of(512) => pitch + 16,
        pitch => pitch,
    }
}
