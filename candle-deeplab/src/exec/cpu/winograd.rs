//! Dense 3×3 convolutions at stride 1 by Winograd's algorithm: F(4×4, 3×3), 36 products where 16 outputs take 144, or
//! F(3×3, 3×3), 25 where 9 take 81.
//!
//! Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016). A map is cut into patches of 4×4 outputs,
//! which see 6×6 inputs (or 3×3, which see 5×5). Inputs and weights are transformed; then each of the 36 (25) positions of a
//! patch is a matmul over all patches; and the products are transformed back. At an atrous rate d, the map is d×d interleaved
//! maps of rate 1; where these are small, patches of 3×3 may cover them with fewer products. Plain windows, which see less at
//! the edges, may take fewer still: the size decides, and all forms read the same weights.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::isa::{
    KERNEL_AREA, Kernels, MAX_SPAN, Matmul, Packed, PatchInput, PatchOutput, PatchWeights, Products, Run, Segment,
    Weights,
};
use super::view::{View, ViewMut, row_pitch};
use crate::exec::choice::Precision;
use crate::exec::fuse::{Clamp, FusedConv};
use crate::graph::{Size, Window};

/// The greatest rate at which it is faster than a matmul of bf16, which takes half the time of one of f32.
const MAX_RATE_BESIDE_BF16: usize = 2;
/// Floats of transformed patches that are in memory at once, before and after the matmuls: a share of the last cache.
const MAX_FLOATS: usize = 2 << 20;
/// The same where a single band has more, beyond which it is not worth its memory.
const MAX_BAND: usize = 20 << 20;
/// Floats of transformed weights that a thread works with at once.
const WEIGHTS: usize = 56 << 10;
/// The transform of the weights takes as long as the products of so many patches.
const WEIGHTS_AS_PATCHES: usize = 4;
/// Floats between positions beyond their own, so that those of a patch do not compete for one place in the cache.
const GAP: usize = 16;

thread_local! {
    /// The transformed weights of some panels. Each thread keeps its own, so that only its first calls allocate.
    static TRANSFORMED: RefCell<Aligned> = RefCell::default();
}

/// Whether a convolution can be computed this way: always in f32, whatever the precision of others.
pub(super) fn suits(conv: &FusedConv, kernels: Kernels, precision: Precision) -> bool {
    let (inputs, outputs) = (conv.group_inputs, conv.conv.out_channels / conv.conv.groups);
    (conv.conv.kernel, conv.conv.stride) == (3, 1)
        && (precision == Precision::F32 || conv.conv.dilation <= MAX_RATE_BESIDE_BF16)
        && kernels.patch_lanes().is_some_and(|lanes| inputs.min(outputs) >= 2 * lanes)
}

/// Computes the pixels of `out` in patches of this span. The weights are not kept transformed: that would be four times as
/// many, to be read from memory at every call. Each panel is transformed, a row of positions at a time, just before its
/// matmuls.
pub(super) fn run(
    kernels: Kernels,
    (weights, clamp): (&Packed, Clamp),
    x: View,
    (windows, span): ((Window, Window), usize),
    residual: Option<View>,
    out: ViewMut,
    scratch: &mut Aligned,
) {
    let (inputs, outputs, width) = (weights.inputs() / KERNEL_AREA, weights.outputs(), weights.width());
    let panels = outputs.div_ceil(width);
    let group = group(inputs * width, panels);
    let parts = panels.div_ceil(group);
    let ViewMut { data, first: first_pixel, pitch, offset, height, width: columns, .. } = out;
    let rate = windows.0.dilation;
    let (side, positions) = (span - 2, span * span);
    // A band is the rows that a row of patches of every interleaved map makes; it is written by one thread.
    let band_rows = side * rate;
    let origins: Vec<usize> = origins(columns, rate, side).collect();
    let patch_floats = positions * (row_pitch(inputs) + parts * group * width);
    let strip = (MAX_FLOATS / (patch_floats * rate * origins.len())).max(1);
    // Whole images, or some rows of one.
    for (index, image) in data.chunks_mut(height * columns * pitch).enumerate() {
        let (n, top) = (first_pixel / columns / height + index, first_pixel / columns % height);
        let seen = windows.0.sees(x.height, top..top + image.len() / (columns * pitch));
        for (index, rows) in image.chunks_mut(strip * band_rows * columns * pitch).enumerate() {
            let first = top + index * strip * band_rows;
            let patches = Patches { side, rate, first, rows: rows.len() / (columns * pitch), columns: &origins };
            let layout = Layout::new(kernels, span, patches.len(), inputs, group * width);
            let (transformed, products) = scratch.split(layout.inputs(), span * parts * layout.part());
            transformed.par_chunks_mut(layout.block()).enumerate().for_each(|(block, out)| {
                for (i, patch) in layout.of_block(block).enumerate() {
                    let (y, column) = patches.at(patch);
                    let at = |i: usize| {
                        let (iy, ix) =
                            (windows.0.input(x.height, y, i / span), windows.1.input(x.width, column, i % span));
                        // What only outputs below these rows see may not be there yet.
                        let iy = iy.filter(|iy| seen.contains(iy))?;
                        (i < positions).then_some(x.place(x.pixel(n, iy, ix?)))
                    };
                    kernels.patch_input(PatchInput {
                        span,
                        x: x.data,
                        pixels: std::array::from_fn(at),
                        channels: inputs,
                        out: &mut out[i * layout.pitch..],
                        step: layout.input_step,
                    });
                }
            });
            let runs = layout.runs();
            let segments = layout.segments(inputs);
            // The same inputs for all outputs one after another: they are still in the cache.
            products.par_chunks_mut(layout.part()).enumerate().for_each(|(index, out)| {
                let (row, first) = (index / parts, index % parts * group);
                let panels = group.min(panels - first);
                let (len, step) = (inputs * width, group * inputs * width + GAP);
                TRANSFORMED.with_borrow_mut(|scratch| {
                    let (transformed_weights, bias) = scratch.split(span * step, group * width);
                    for i in 0..panels {
                        let (panel, out) = (weights.panel(first + i), &mut transformed_weights[i * len..]);
                        kernels.patch_weights(PatchWeights { span, panel, width, inputs, row, out, step });
                    }
                    bias.fill(0.0);
                    for (i, out) in out.chunks_exact_mut(layout.product_step).enumerate() {
                        let panels = &transformed_weights[i * step..][..panels * len];
                        kernels.matmul(Matmul {
                            runs: &runs,
                            segments: &segments,
                            x: &transformed[(row * span + i) * layout.input_step..],
                            x_pitch: layout.pitch,
                            interleaved: false,
                            weights: Weights {
                                precision: Precision::F32,
                                inputs,
                                outputs: panels.len() / inputs,
                                width,
                                panels,
                                bias: &bias[..panels.len() / inputs],
                            },
                            starts: &[],
                            residual: None,
                            clamp: Clamp::NONE,
                            out,
                            out_pitch: layout.width,
                        });
                    }
                });
            });
            rows.par_chunks_mut(band_rows * columns * pitch).enumerate().for_each(|(band, out)| {
                let (top, rows) = (first + band * band_rows, out.len() / (columns * pitch));
                for number in patches.of_band(band) {
                    let (y, column) = patches.at(number);
                    let at = |i: usize| {
                        let (y, column) = (y - top + i / side * rate, column + i % side * rate);
                        (i < side * side && y < rows && column < columns).then_some(y * columns + column)
                    };
                    kernels.patch_output(PatchOutput {
                        span,
                        products: Products {
                            data: &products[number * layout.width..],
                            width: layout.width,
                            row_step: parts * layout.part(),
                            part_step: layout.part(),
                            step: layout.product_step,
                        },
                        channels: outputs,
                        bias: weights.bias(),
                        clamp,
                        pixels: std::array::from_fn(at),
                        residual: residual.map(|r| (r.from((n * height + top) * columns), r.pitch)),
                        out: &mut out[offset..],
                        out_pitch: pitch,
                    });
                }
            });
        }
    }
}

/// How many panels of so many floats are transformed at once. Their weights share a core's second cache with the patches at
/// a position, which are read once for all of them.
fn group(panel: usize, panels: usize) -> usize {
    let fitting = (WEIGHTS / (MAX_SPAN * panel)).clamp(1, panels);
    panels.div_ceil(panels.div_ceil(fitting))
}

/// How the transformed patches of a strip lie in memory: the inputs as `[block of patches][position][patch][channel]`, so
/// that a thread writes a block, and a matmul reads neighbouring rows; the products as `[row of positions][part][position of
/// the row][patch][output]`, so that a thread writes a part of the outputs.
struct Layout {
    /// Positions along an axis.
    span: usize,
    patches: usize,
    /// Patches of a block.
    block: usize,
    /// Floats from a patch of the inputs to the next.
    pitch: usize,
    /// Floats from a position of the inputs to the next.
    input_step: usize,
    /// Outputs of a part.
    width: usize,
    /// Floats from a position of the products to the next.
    product_step: usize,
}

impl Layout {
    fn new(kernels: Kernels, span: usize, patches: usize, inputs: usize, width: usize) -> Self {
        let (block, pitch) = (2 * kernels.rows_at_once(), row_pitch(inputs));
        let (input_step, product_step) = (block * pitch + GAP, patches * width + GAP);
        Self { span, patches, block, pitch, input_step, width, product_step }
    }

    /// Floats of a block of inputs.
    fn block(&self) -> usize {
        self.span * self.span * self.input_step
    }

    /// Floats of all inputs.
    fn inputs(&self) -> usize {
        self.patches.div_ceil(self.block) * self.block()
    }

    /// The patches of a block.
    fn of_block(&self, block: usize) -> Range<usize> {
        block * self.block..((block + 1) * self.block).min(self.patches)
    }

    /// Floats of a row of positions of a part of the products.
    fn part(&self) -> usize {
        self.span * self.product_step
    }

    /// The patches as rows of a matmul, block by block.
    fn runs(&self) -> Vec<Run> {
        let run =
            |block: usize| Run { first: block * self.block, rows: self.of_block(block).len(), sees: block..block + 1 };
        (0..self.patches.div_ceil(self.block)).map(run).collect()
    }

    /// Where each block's rows lie, counted from a position's place in the first block.
    fn segments(&self, len: usize) -> Vec<Segment> {
        (0..self.patches.div_ceil(self.block)).map(|block| Segment { x: block * self.block(), input: 0, len }).collect()
    }
}

/// Where the patches of so many outputs along an axis of `len` begin, interleaved map by interleaved map.
fn origins(len: usize, rate: usize, side: usize) -> impl Iterator<Item = usize> {
    (0..rate.min(len)).flat_map(move |start| (start..len).step_by(side * rate))
}

/// The span of the fastest patches. `None` where windows over a map of this size take less time (for each input and output,
/// as many products as pixels of the kernel lie inside the map), or patches too much memory: `floats` are those of a position
/// of a patch, before and after its products.
pub(super) fn best_span((v, h): (Window, Window), size: Size, floats: usize) -> Option<usize> {
    // Windows that see nothing but the pixel at their own place.
    if v.dilation >= size.height.max(size.width) {
        return None;
    }
    let seen = |window: Window, len| (0..window.kernel).map(|at| window.inside(len, at).len()).sum::<usize>();
    let cost = |span: usize| {
        let along = |window: Window| origins(window.output, window.dilation, span - 2).count();
        (along(v) * along(h) + WEIGHTS_AS_PATCHES) * span * span
    };
    // The larger one where both cost as much: it has fewer sums around its products.
    let span = if cost(MAX_SPAN - 1) < cost(MAX_SPAN) { MAX_SPAN - 1 } else { MAX_SPAN };
    let band = v.dilation.min(v.output) * origins(h.output, h.dilation, span - 2).count() * span * span * floats;
    (band <= MAX_BAND && cost(span) <= seen(v, size.height) * seen(h, size.width)).then_some(span)
}

/// The patches of some bands of an image.
struct Patches<'a> {
    /// Outputs of a patch along an axis.
    side: usize,
    rate: usize,
    /// First row of outputs.
    first: usize,
    /// Number of rows of outputs.
    rows: usize,
    /// First columns of the patches in a row of them.
    columns: &'a [usize],
}

impl Patches<'_> {
    /// `rate` rows of patches to a band, fewer in one that has fewer rows of outputs.
    fn len(&self) -> usize {
        let band = self.side * self.rate;
        (self.rows / band * self.rate + (self.rows % band).min(self.rate)) * self.columns.len()
    }

    /// The patches of a band.
    fn of_band(&self, band: usize) -> Range<usize> {
        let start = |band: usize| (band * self.rate * self.columns.len()).min(self.len());
        start(band)..start(band + 1)
    }

    /// First row and column of a patch's outputs.
    fn at(&self, patch: usize) -> (usize, usize) {
        let row = patch / self.columns.len();
        let (band, start) = (row / self.rate, row % self.rate);
        (self.first + band * self.side * self.rate + start, self.columns[patch % self.columns.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Padding;

    /// Every output is in exactly one patch, whatever the size and the rate.
    #[test]
    fn patches_cover_a_map_once() {
        let sizes = [
            (1, 1, 1),
            (4, 9, 1),
            (33, 33, 2),
            (17, 5, 4),
            (3, 2, 4),
            (16, 16, 3),
            (33, 35, 5),
            (29, 7, 6),
            (33, 50, 12),
        ];
        for ((height, width, rate), side) in sizes.into_iter().flat_map(|size| [(size, 3), (size, 4)]) {
            let columns: Vec<usize> = origins(width, rate, side).collect();
            let patches = Patches { side, rate, first: 0, rows: height, columns: &columns };
            let mut seen = vec![0; height * width];
            let bands = height.div_ceil(side * rate);
            for patch in (0..bands).flat_map(|band| patches.of_band(band)) {
                let (y, x) = patches.at(patch);
                for i in 0..side * side {
                    let (y, x) = (y + i / side * rate, x + i % side * rate);
                    if y < height && x < width {
                        seen[y * width + x] += 1;
                    }
                }
            }
            assert_eq!(seen, vec![1; height * width], "{height}×{width} at rate {rate}, patches of {side}");
            assert_eq!(patches.of_band(bands - 1).end, patches.len());
        }
    }

    /// Maps of 6×6 are four patches of 3×3, of 25 products each; of 8×8 four of 4×4. At rate 12, a map of 33×33 is 144 patches
    /// of 3×3, where all windows along an axis see 75 pixels; on 17×17 they see 27, on 5×5 each sees its own alone.
    #[test]
    fn the_form_with_the_fewest_products() {
        let forms = [
            (33, 1, Some(6)),
            (33, 4, Some(6)),
            (33, 6, Some(5)),
            (65, 6, Some(6)),
            (33, 12, Some(5)),
            (33, 18, None),
            (17, 12, None),
            (5, 12, None),
            (65, 12, Some(5)),
            (65, 24, None),
            (8, 1, Some(6)),
            (1, 1, None),
        ];
        for (size, rate, span) in forms {
            let window = Window::new(size, 3, 1, rate, Padding::Symmetric(rate)).unwrap();
            assert_eq!(best_span((window, window), Size::new(size, size), 2304), span, "{size} at rate {rate}");
        }
    }
}
