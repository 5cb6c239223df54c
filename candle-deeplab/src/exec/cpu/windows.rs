//! Finds the pixels of a map that windows see.

use std::ops::Range;

use super::isa::Run;
use super::view::{View, position};
use crate::graph::Window;

/// Cuts pixels of the result into runs whose windows cover `x` in the same way; what falls outside the map is left out.
///
/// For each pixel that a run's first window sees, `push(list, start, at, place)` appends to the list: `start` is where
/// the run's own part of the list begins, `at` the pixel's number in the window, and `place` where its channels lie.
pub(super) fn find_runs<T>(
    x: &View,
    (v, h): (Window, Window),
    pixels: Range<usize>,
    runs: &mut Vec<Run>,
    list: &mut Vec<T>,
    push: impl Fn(&mut Vec<T>, usize, usize, usize),
) {
    runs.clear();
    list.clear();
    let mut next = pixels.start;
    while next < pixels.end {
        let (n, oy, ox) = position(next, v.output, h.output);
        let rows = alike(&h, x.width, ox).min(pixels.end - next);
        let start = list.len();
        for ky in 0..v.kernel {
            let Some(iy) = v.input(x.height, oy, ky) else { continue };
            for kx in 0..h.kernel {
                let Some(ix) = h.input(x.width, ox, kx) else { continue };
                push(list, start, ky * h.kernel + kx, x.place(x.pixel(n, iy, ix)));
            }
        }
        runs.push(Run { first: next - pixels.start, rows, sees: start..list.len() });
        next += rows;
    }
}

/// How many windows from this one on, up to the end of the row, cover an input of `len` elements in the same way: the
/// same elements of each are inside.
fn alike(window: &Window, len: usize, first: usize) -> usize {
    let changes = (0..window.kernel).flat_map(|at| {
        let inside = window.inside(len, at);
        [inside.start, inside.end]
    });
    let end = changes.filter(|change| *change > first).fold(window.output, usize::min);
    end - first
}
