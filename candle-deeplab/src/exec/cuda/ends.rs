//! The two ends of a network: from an image's pixels or a tensor to its input, and from its logits to classes.

use super::kernels::{Columns, FromPlanes, Labels, Normalization, Pixels, Rows, Taps};
use super::lower::{Lowering, axes};
use super::part::Part;
use super::resample::Table;
use super::work::{TABLES, Work, at};
use crate::config::{Filter, Preprocessing};
use crate::error::Result;
use crate::graph::Size;

/// What a network's input is made from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// Preprocessed pixels, f32 `[N, C, H, W]`.
    Planes,
    /// Images of one size, 8 bits a channel.
    Images(Images),
}

/// Images `[N, H, W, 3]`, and how they become a network's input.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Images {
    image: Size,
    /// The size that an image is resized to.
    valid: Size,
    filter: Filter,
    pub(super) normalization: Normalization,
}

impl Images {
    pub(super) fn new(preprocessing: &Preprocessing, image: Size, valid: Size) -> Self {
        let Preprocessing { mean, std, pad_value, filter, .. } = *preprocessing;
        let padding = std::array::from_fn(|channel| (pad_value[channel] - mean[channel]) / std[channel]);
        Self { image, valid, filter, normalization: Normalization { mean, std, padding } }
    }
}

/// The constant tables of a plan.
#[derive(Debug, Default)]
pub(super) struct Tables(pub(super) Vec<u8>);

impl Tables {
    fn taps(&mut self, from: usize, to: usize, filter: Filter) -> Taps {
        let Table { starts, counts, weights, most } = Table::new(from, to, filter);
        let mut put = |bytes: Vec<u8>| {
            let offset = self.0.len();
            self.0.extend(bytes);
            at(TABLES, offset)
        };
        let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_ne_bytes()).collect() };
        Taps {
            starts: put(words(&starts)),
            counts: put(words(&counts)),
            weights: put(weights.iter().flat_map(|weight| weight.to_ne_bytes()).collect()),
            most: most as u32,
            outputs: to as u32,
        }
    }
}

/// Adds the work that makes the network's input `x`. Returns the buffer that the source has to be copied to before.
pub(super) fn source(lowering: &mut Lowering, source: &Source, x: Part, tables: &mut Tables) -> usize {
    let images = lowering.batch as u32;
    let Size { height, width } = x.size;
    match source {
        Source::Planes => {
            let buffer = lowering.new_buffer(x.pixels() * x.channels * size_of::<f32>());
            let args = FromPlanes { planes: at(buffer, 0), map: x.view(), images };
            lowering.kernel("from_planes", x.number, [width, x.channels * height, x.images], args);
            buffer
        }
        Source::Images(Images { image, valid, filter, normalization }) => {
            let buffer = lowering.new_buffer(x.images * image.area() * 3);
            let (pixels, work) = (at(buffer, 0), [width, height, x.images]);
            let (y, normalization) = (x.view(), *normalization);
            if image == valid {
                let (height, width) = (image.height as u32, image.width as u32);
                lowering.kernel("pixels", x.number, work, Pixels { pixels, y, normalization, images, height, width });
                return buffer;
            }
            let line = 3 * image.width;
            let between = at(lowering.new_buffer(x.images * valid.height * line * size_of::<f32>()), 0);
            let taps = tables.taps(image.height, valid.height, *filter);
            let columns =
                Columns { x: pixels, y: between, taps, images, height: image.height as u32, line: line as u32 };
            lowering.kernel_of_one("resample_columns", [line, valid.height, x.images], columns);
            let taps = tables.taps(image.width, valid.width, *filter);
            let (height, width) = (valid.height as u32, image.width as u32);
            let rows = Rows { x: between, y, taps, normalization, images, height, width };
            lowering.kernel("resample_rows", x.number, work, rows);
            buffer
        }
    }
}

/// The logits of a network, and how they become as large as its output.
#[derive(Clone, Copy)]
pub(super) struct Logits {
    pub(super) part: Part,
    pub(super) output: Size,
    pub(super) align_corners: bool,
}

/// Adds the work that finds the class of each pixel of images of the size `image`, of which the network has seen the upper
/// left of its input, `valid`. Returns the buffer of the classes, `[N, H, W]`, and behind them of a byte that becomes 1
/// where a logit is not finite.
pub(super) fn labels(lowering: &mut Lowering, logits: Logits, valid: Size, image: Size) -> Result<usize> {
    let Logits { part, output, align_corners } = logits;
    let (x, (v, h)) = if valid == image {
        (part, axes(part.size, output, align_corners))
    } else {
        // Twice resized, as on the CPU: from the network's resolution to its input's, and from there to the image's.
        let resized = lowering.new_map(part.number, part.channels, valid)?;
        lowering.resize(part, resized, output, align_corners);
        (resized, axes(valid, image, false))
    };
    let count = x.images * image.area();
    let buffer = lowering.new_buffer(count + 1);
    let (ids, not_finite) = (at(buffer, 0), at(buffer, count));
    let (images, height, width) = (x.images as u32, image.height as u32, image.width as u32);
    lowering.works.push(Work::Clear { at: not_finite, bytes: 1 });
    let args = Labels { x: x.view(), ids, not_finite, v, h, images, height, width };
    lowering.kernel("labels", x.number, [image.width, image.height, x.images], args);
    Ok(buffer)
}
