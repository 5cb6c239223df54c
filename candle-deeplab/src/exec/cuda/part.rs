//! Feature maps in a plan's buffers.

use super::kernels::{Address, Number, View};
use super::work::at;
use crate::graph::Size;

/// Channels that a thread handles at once, where a map allows it: 16 bytes of half-precision numbers. Pixels are whole
/// groups apart.
pub(super) const GROUP: usize = 8;

/// Some channels of a map `[images, height, width, channels]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    buffer: usize,
    pub(super) number: Number,
    pub(super) images: usize,
    pub(super) size: Size,
    /// All channels of the map.
    all: usize,
    /// The first channel.
    first: usize,
    pub(super) channels: usize,
}

impl Part {
    /// A whole map, at the beginning of a buffer.
    pub(super) fn whole(buffer: usize, number: Number, images: usize, channels: usize, size: Size) -> Self {
        Self { buffer, number, images, size, all: channels, first: 0, channels }
    }

    /// Some of the channels.
    pub(super) fn narrow(self, first: usize, channels: usize) -> Self {
        Self { first: self.first + first, channels, ..self }
    }

    /// Part number `index` of the channels, which are cut into `parts` equal parts.
    pub(super) fn part(self, index: usize, parts: usize) -> Self {
        let channels = self.channels / parts;
        self.narrow(index * channels, channels)
    }

    /// Numbers from one pixel to the next.
    pub(super) fn pitch(&self) -> usize {
        self.all.next_multiple_of(GROUP)
    }

    /// Pixels of all images.
    pub(super) fn pixels(&self) -> usize {
        self.images * self.size.area()
    }

    /// Bytes of the whole map.
    pub(super) fn bytes(&self) -> usize {
        self.pixels() * self.pitch() * self.number.size()
    }

    /// The first channel of a pixel, counted through all images.
    pub(super) fn address(&self, pixel: usize) -> Address {
        at(self.buffer, (pixel * self.pitch() + self.first) * self.number.size())
    }

    pub(super) fn view(&self) -> View {
        View {
            data: self.address(0),
            pitch: self.pitch() as u32,
            row: self.size.width as u32,
            image: self.size.area() as u32,
            channels: self.channels as u32,
            height: self.size.height as u32,
            width: self.size.width as u32,
        }
    }

    /// Whether its channels can be read in whole groups: what lies behind the last may be read with it.
    pub(super) fn reads_groups(&self) -> bool {
        self.first.is_multiple_of(GROUP)
    }

    /// Whether its channels can be written in whole groups: nothing of others lies behind the last.
    pub(super) fn writes_groups(&self) -> bool {
        let at_the_end = self.first + self.channels == self.all;
        self.first.is_multiple_of(GROUP) && (at_the_end || self.channels.is_multiple_of(GROUP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three parts of 21 channels: groups that a part does not fill belong to the next one, except for the last.
    #[test]
    fn only_what_is_its_own_is_written_in_groups() {
        let map = Part::whole(2, Number::F16, 1, 45, Size::new(3, 5));
        assert_eq!((map.pitch(), map.bytes(), map.pixels()), (48, 48 * 15 * 2, 15));
        let parts = [map, map.narrow(0, 16), map.narrow(16, 21), map.narrow(37, 8), map.narrow(40, 5)];
        assert_eq!(parts.map(|part| part.reads_groups()), [true, true, true, false, true]);
        assert_eq!(parts.map(|part| part.writes_groups()), [true, true, false, false, true]);
    }

    #[test]
    fn a_view_begins_at_its_channels_and_knows_the_whole_map() {
        let map = Part::whole(3, Number::Bf16, 2, 16, Size::new(6, 7));
        let view = map.part(1, 2).view();
        assert_eq!((view.pitch, view.row, view.image), (16, 7, 42));
        assert_eq!((view.channels, view.height, view.width), (8, 6, 7));
        assert_eq!(view.data, at(3, 16));
        assert_eq!(map.address(42), at(3, 42 * 32));
    }
}
