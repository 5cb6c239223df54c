//! Dense 3×3 convolutions at stride 1 by Winograd's F(4×4, 3×3): 36 products where 16 outputs take 144.
//!
//! Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016). A map is cut into tiles of 4×4 outputs, which
//! see 6×6 inputs; both are transformed, and in between each of the 36 positions of a tile is a matmul over all tiles. At
//! an atrous rate d, the map is d×d interleaved maps of rate 1.

use rayon::prelude::*;

use super::aligned::Aligned;
use super::isa::{Clamp, Kernels, Matmul, Packed, Run, Segment, TileInput, TileOutput};
use super::view::{View, ViewMut};
use crate::exec::fold::{Folded, Folding};
use crate::graph::Window;

/// Outputs of a tile along an axis.
pub(super) const TILE: usize = 4;
/// Inputs that they see.
pub(super) const SPAN: usize = TILE + 2;
/// Positions in a transformed tile.
pub(super) const POSITIONS: usize = SPAN * SPAN;
/// Beyond this rate, the interleaved maps of usual sizes are too small for tiles.
const MAX_RATE: usize = 4;
/// Floats of the transformed tiles that are in memory at once, before and after the matmuls: a share of the last cache.
const MAX_FLOATS: usize = 2 << 20;
/// Floats between the transformed tiles beyond their own, so that those of a matmul's rows do not compete for one place in
/// the cache.
const GAP: usize = 16;

/// The transform of the kernel.
const KERNEL: [[f64; 3]; SPAN] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// A dense 3×3 convolution with everything around it that is fused.
#[derive(Debug)]
pub(super) struct WinogradConv {
    /// A matrix for each position of a transformed tile.
    positions: Vec<Packed>,
    bias: Vec<f32>,
    clamp: Clamp,
}

impl WinogradConv {
    /// Whether this convolution is faster, and as good, in this form.
    pub(super) fn suits(folding: &Folding, kernels: Kernels) -> bool {
        let conv = folding.conv;
        let lanes = kernels.tile_lanes();
        (conv.kernel, conv.stride, conv.groups) == (3, 1, 1)
            && conv.dilation <= MAX_RATE
            && lanes.is_some_and(|lanes| folding.group_inputs >= 2 * lanes && conv.out_channels >= 2 * lanes)
    }

    pub(super) fn new(folding: &Folding, folded: &Folded, clamp: Clamp, panel_width: usize) -> Self {
        let (inputs, bias) = (folding.group_inputs, folded.bias());
        let transformed: Vec<[f32; POSITIONS]> = (0..bias.len() * inputs)
            .into_par_iter()
            .map(|at| transform(std::array::from_fn(|tap| folded.weight(at / inputs, at % inputs, tap))))
            .collect();
        let none = vec![0.0; bias.len()];
        let position = |at: usize| {
            Packed::new(panel_width, inputs, &none, |output| {
                transformed[output * inputs..][..inputs].iter().map(move |tile| tile[at])
            })
        };
        Self { positions: (0..POSITIONS).into_par_iter().map(position).collect(), bias, clamp }
    }

    /// Multiply-adds of a pixel that this stands for.
    pub(super) fn macs_per_pixel(&self) -> usize {
        9 * self.positions[0].inputs() * self.bias.len()
    }

    pub(super) fn run(
        &self,
        kernels: Kernels,
        x: View,
        windows: (Window, Window),
        residual: Option<View>,
        out: ViewMut,
        scratch: &mut Aligned,
    ) {
        let (inputs, outputs) = (self.positions[0].inputs(), self.bias.len());
        let tile_floats = POSITIONS * inputs + GAP;
        let ViewMut { data, pitch, offset, height, width, .. } = out;
        let rate = windows.0.dilation;
        // A band is the rows that a row of tiles of every interleaved map makes; it is written by one thread.
        let band_rows = TILE * rate;
        let columns = origins(width, rate);
        let strip = (MAX_FLOATS / ((tile_floats + POSITIONS * outputs) * rate * columns.len())).max(1);
        for (n, image) in data.chunks_mut(height * width * pitch).enumerate() {
            for (index, rows) in image.chunks_mut(strip * band_rows * width * pitch).enumerate() {
                let first = index * strip * band_rows;
                let tiles = Tiles { rate, first, rows: rows.len() / (width * pitch), columns: &columns };
                let (transformed, products) =
                    scratch.split(tiles.len() * tile_floats, POSITIONS * tiles.len() * outputs);
                transformed.par_chunks_mut(tile_floats).with_min_len(4).enumerate().for_each(|(tile, to)| {
                    let (y, column) = tiles.at(tile);
                    let at = |i: usize| {
                        let (iy, ix) =
                            (windows.0.input(x.height, y, i / SPAN), windows.1.input(x.width, column, i % SPAN));
                        Some(x.pixel(n, iy?, ix?) * x.pitch)
                    };
                    kernels.tile_input(TileInput {
                        x: x.data,
                        pixels: std::array::from_fn(at),
                        channels: inputs,
                        out: to,
                    });
                });
                let positions = products.par_chunks_mut(tiles.len() * outputs).zip(&self.positions).enumerate();
                positions.for_each(|(position, (out, weights))| {
                    kernels.matmul(Matmul {
                        runs: &[Run { first: 0, rows: tiles.len(), sees: 0..1 }],
                        segments: &[Segment { x: position * inputs, input: 0, len: inputs }],
                        x: transformed,
                        x_pitch: tile_floats,
                        weights,
                        residual: None,
                        clamp: Clamp::NONE,
                        out,
                        out_pitch: outputs,
                    });
                });
                rows.par_chunks_mut(band_rows * width * pitch).enumerate().for_each(|(band, out)| {
                    let (top, rows) = (first + band * band_rows, out.len() / (width * pitch));
                    for tile in tiles.of_band(band) {
                        let (y, column) = tiles.at(tile);
                        let at = |i: usize| {
                            let (y, column) = (y - top + i / TILE * rate, column + i % TILE * rate);
                            (y < rows && column < width).then_some(y * width + column)
                        };
                        kernels.tile_output(TileOutput {
                            products: &products[tile * outputs..],
                            step: tiles.len() * outputs,
                            bias: &self.bias,
                            clamp: self.clamp,
                            pixels: std::array::from_fn(at),
                            residual: residual.map(|r| (r.from((n * height + top) * width), r.pitch)),
                            out: &mut out[offset..],
                            out_pitch: pitch,
                        });
                    }
                });
            }
        }
    }
}

/// `G g Gᵀ`, in double precision: what is lost here is lost in every output.
fn transform(kernel: [f32; 9]) -> [f32; POSITIONS] {
    let dot = |factors: &[f64; 3], values: [f64; 3]| factors.iter().zip(values).map(|(a, b)| a * b).sum::<f64>();
    let columns: [[f64; 3]; SPAN] = std::array::from_fn(|y| {
        std::array::from_fn(|x| dot(&KERNEL[y], [0, 3, 6].map(|row| f64::from(kernel[row + x]))))
    });
    std::array::from_fn(|at| dot(&KERNEL[at % SPAN], columns[at / SPAN]) as f32)
}

/// Where the tiles along an axis of `len` outputs begin, map by interleaved map.
fn origins(len: usize, rate: usize) -> Vec<usize> {
    (0..rate.min(len)).flat_map(|start| (start..len).step_by(TILE * rate)).collect()
}

/// The tiles of some bands of an image.
struct Tiles<'a> {
    rate: usize,
    /// First row of outputs, and their number.
    first: usize,
    rows: usize,
    /// First columns of the tiles in a row of them.
    columns: &'a [usize],
}

impl Tiles<'_> {
    /// Rows of tiles: `rate` to a band, fewer in one that has fewer rows of outputs.
    fn len(&self) -> usize {
        let band = TILE * self.rate;
        (self.rows / band * self.rate + (self.rows % band).min(self.rate)) * self.columns.len()
    }

    /// The tiles of a band.
    fn of_band(&self, band: usize) -> std::ops::Range<usize> {
        let start = |band: usize| (band * self.rate * self.columns.len()).min(self.len());
        start(band)..start(band + 1)
    }

    /// First row and column of a tile's outputs.
    fn at(&self, tile: usize) -> (usize, usize) {
        let row = tile / self.columns.len();
        let (band, start) = (row / self.rate, row % self.rate);
        (self.first + band * TILE * self.rate + start, self.columns[tile % self.columns.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every output is in exactly one tile, whatever the size and the rate.
    #[test]
    fn tiles_cover_a_map_once() {
        for (height, width, rate) in [(1, 1, 1), (4, 9, 1), (33, 33, 2), (17, 5, 4), (3, 2, 4), (16, 16, 3)] {
            let columns = origins(width, rate);
            let tiles = Tiles { rate, first: 0, rows: height, columns: &columns };
            let mut seen = vec![0; height * width];
            let bands = height.div_ceil(TILE * rate);
            for tile in (0..bands).flat_map(|band| tiles.of_band(band)) {
                let (y, x) = tiles.at(tile);
                for i in 0..TILE * TILE {
                    let (y, x) = (y + i / TILE * rate, x + i % TILE * rate);
                    if y < height && x < width {
                        seen[y * width + x] += 1;
                    }
                }
            }
            assert_eq!(seen, vec![1; height * width], "{height}×{width} at rate {rate}");
            assert_eq!(tiles.of_band(bands - 1).end, tiles.len());
        }
    }
}
