//! Which taps of a window the pixels of a map see.

use std::ops::Range;

use super::isa::Run;
use super::view::{View, position};
use crate::graph::Window;

/// Cuts pixels of the result into runs that see the same taps of `x`; taps that fall outside the map are left out.
/// `push(list, start, tap, at)` adds a tap to the list, of which the run's own part begins at `start`: its number in the
/// window and where the channels lie that the run's first pixel sees.
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
        let rows = same_taps(&h, x.width, ox).min(pixels.end - next);
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

/// How many outputs from `output` on, up to the end of the row, see the same taps of an input of `len` elements.
fn same_taps(window: &Window, len: usize, output: usize) -> usize {
    let changes = (0..window.kernel).flat_map(|tap| {
        let inside = window.inside(len, tap);
        [inside.start, inside.end]
    });
    let end = changes.filter(|change| *change > output).fold(window.output, usize::min);
    end - output
}
