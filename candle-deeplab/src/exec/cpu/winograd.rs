//! Computes dense 3×3 convolutions at stride 1 by Winograd's algorithm: F(4×4, 3×3), with 36 products instead of 144
//! for 16 outputs, or F(3×3, 3×3), with 25 instead of 81 for 9 outputs.
//!
//! Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016). A map is cut into patches of 4×4
//! outputs, which see 6×6 inputs (or 3×3, which see 5×5). Inputs and weights are transformed; then each of the 36 (25)
//! positions of a patch is a matmul over all patches; and the products are transformed back. At an atrous rate d, the
//! map consists of d×d interleaved maps of rate 1; where these are small, patches of 3×3 may cover them with fewer
//! products. Plain windows, which see less at the edges, may take fewer still: the size decides, and all three forms
//! read the same packed weights.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::denormals::Flushed;
use super::isa::{
    KERNEL_AREA, Kernels, MAX_SPAN, Matmul, Packed, PatchInput, PatchOutput, PatchWeights, Products, Run, Segment,
    Weights,
};
use super::view::{View, ViewMut, row_pitch};
use crate::exec::choice::Precision;
use crate::exec::fuse::{Clamp, FusedConv};
use crate::graph::{Size, Window};

/// The greatest atrous rate at which Winograd's algorithm is faster than a matmul in bf16, which takes half the time of
/// one in f32.
const MAX_RATE_BESIDE_BF16: usize = 2;
/// How many floats of transformed patches are in memory at once, inputs and products: a share of the last-level cache.
const MAX_FLOATS: usize = 2 << 20;
/// The limit for a single band that has more: beyond it, the algorithm is not worth its memory.
const MAX_BAND: usize = 20 << 20;
/// How many floats of transformed weights a thread works with at once.
const WEIGHTS: usize = 56 << 10;
/// The transform of the weights takes about as long as the products of this many patches.
const WEIGHTS_AS_PATCHES: usize = 4;
/// Padding between positions in floats, so that the positions of a patch do not compete for the same cache set.
const GAP: usize = 16;

thread_local! {
    /// The transformed weights of some panels. Each thread keeps its own, so that only its first calls allocate.
    static TRANSFORMED: RefCell<Aligned> = RefCell::default();
}

/// Whether a convolution can be computed this way. It is always computed in f32, whatever the precision of others.
pub(super) fn suits(conv: &FusedConv, kernels: Kernels, precision: Precision) -> bool {
    let (inputs, outputs) = (conv.group_inputs, conv.conv.out_channels / conv.conv.groups);
    (conv.conv.kernel, conv.conv.stride) == (3, 1)
        && (precision == Precision::F32 || conv.conv.dilation <= MAX_RATE_BESIDE_BF16)
        && kernels.patch_lanes().is_some_and(|lanes| inputs.min(outputs) >= 2 * lanes)
}

/// Computes the pixels of `out` in patches of this span.
///
/// The transformed weights are not kept: they would be four times as many, to be read from memory at every call.
/// Instead, each panel is transformed just before its matmuls, one row of positions at a time.
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
    // A band consists of the rows of outputs that one row of patches of every interleaved map computes; one thread
    // writes it.
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
                let _flushed = Flushed::here();
                for (i, patch) in layout.of_block(block).enumerate() {
                    let (y, column) = patches.at(patch);
                    let at = |i: usize| {
                        let (iy, ix) =
                            (windows.0.input(x.height, y, i / span), windows.1.input(x.width, column, i % span));
                        // Rows that only outputs below these see may not be computed yet.
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
            // All outputs of the same inputs are computed in succession, while the inputs are still in the cache.
            products.par_chunks_mut(layout.part()).enumerate().for_each(|(index, out)| {
                let _flushed = Flushed::here();
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
                let _flushed = Flushed::here();
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

/// How many panels are transformed at once; `panel` is the floats of one. Their weights share a core's L2 cache with
/// the patches at a position, which are read once for all these panels.
fn group(panel: usize, panels: usize) -> usize {
    let fitting = (WEIGHTS / (MAX_SPAN * panel)).clamp(1, panels);
    panels.div_ceil(panels.div_ceil(fitting))
}

/// The memory layout of the transformed patches of a strip. The inputs are
/// `[block of patches][position][patch][channel]`, so that a thread writes a block, and a matmul reads neighbouring
/// rows. The products are `[row of positions][part][position of the row][patch][output]`, so that a thread writes a
/// part of the outputs.
struct Layout {
    /// Positions along an axis.
    span: usize,
    patches: usize,
    /// Patches of a block.
    block: usize,
    /// Floats from one patch of the inputs to the next.
    pitch: usize,
    /// Floats from one position of the inputs to the next.
    input_step: usize,
    /// Outputs of a part.
    width: usize,
    /// Floats from one position of the products to the next.
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

    /// Floats of one row of positions and one part of the products.
    fn part(&self) -> usize {
        self.span * self.product_step
    }

    /// The patches as rows of a matmul, block by block.
    fn runs(&self) -> Vec<Run> {
        let run =
            |block: usize| Run { first: block * self.block, rows: self.of_block(block).len(), sees: block..block + 1 };
        (0..self.patches.div_ceil(self.block)).map(run).collect()
    }

    /// Where each block's rows begin, relative to the position's place in the first block.
    fn segments(&self, len: usize) -> Vec<Segment> {
        (0..self.patches.div_ceil(self.block)).map(|block| Segment { x: block * self.block(), input: 0, len }).collect()
    }
}

/// Where patches with `side` outputs along an axis of length `len` begin, one interleaved map after another.
fn origins(len: usize, rate: usize, side: usize) -> impl Iterator<Item = usize> {
    (0..rate.min(len)).flat_map(move |start| (start..len).step_by(side * rate))
}

/// The span of the fastest patches.
///
/// `None` where plain windows over a map of this size are faster (for each input and output, they take as many products
/// as pixels of the kernel lie inside the map), or where patches take too much memory: `floats` is the size of one
/// position of one patch, inputs and products.
pub(super) fn best_span((v, h): (Window, Window), size: Size, floats: usize) -> Option<usize> {
    // Such windows see only their own pixel.
    if v.dilation >= size.height.max(size.width) {
        return None;
    }
    let seen = |window: Window, len| (0..window.kernel).map(|at| window.inside(len, at).len()).sum::<usize>();
    let cost = |span: usize| {
        let along = |window: Window| origins(window.output, window.dilation, span - 2).count();
        (along(v) * along(h) + WEIGHTS_AS_PATCHES) * span * span
    };
    // At equal cost, the larger span has fewer additions around its products.
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
    /// The first columns of the patches in a row of patches.
    columns: &'a [usize],
}

impl Patches<'_> {
    /// A band has `rate` rows of patches, or fewer if it has fewer rows of outputs.
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

    /// A map of 6×6 is four patches of 3×3 outputs, with 25 products each; one of 8×8 is four of 4×4. At rate 12, a map
    /// of 33×33 is 144 patches of 3×3, where all windows along an axis see 75 pixels; on 17×17 they see 27, and on 5×5
    /// each sees only its own pixel.
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
