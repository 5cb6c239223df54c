//! Bilinear resizing: of maps inside the network, and of the logits at its end, which leave as planes.

use std::ops::Range;

use rayon::prelude::*;

use super::view::{View, ViewMut, position};
use crate::ops::source_position;

/// Where the outputs along one axis lie among the inputs.
#[derive(Debug)]
pub(super) struct Axis(Vec<Point>);

/// Two neighbouring inputs, and how far from the first to the second.
#[derive(Debug, Clone, Copy)]
struct Point {
    low: usize,
    high: usize,
    weight: f32,
}

impl Axis {
    pub(super) fn new(from: usize, to: usize, align_corners: bool) -> Self {
        let point = |i| {
            let position = source_position(i, from, to, align_corners);
            let low = (position.floor() as usize).min(from - 1);
            Point { low, high: (low + 1).min(from - 1), weight: position - low as f32 }
        };
        Self((0..to).map(point).collect())
    }
}

impl Axis {
    /// The inputs between the first and the last that some outputs are made of.
    pub(super) fn sees(&self, outputs: Range<usize>) -> Range<usize> {
        match &self.0[outputs] {
            [first, .., last] => first.low..last.high + 1,
            [only] => only.low..only.high + 1,
            [] => 0..0,
        }
    }
}

/// `x` at the size of `out`.
pub(super) fn resize(x: View, (vertical, horizontal): (&Axis, &Axis), out: ViewMut) {
    let (height, width) = (out.height, out.width);
    out.for_each_pixel(|pixel, out| {
        let (n, oy, ox) = position(pixel, height, width);
        let (v, h) = (vertical.0[oy], horizontal.0[ox]);
        let corner = |y, column| x.at(x.pixel(n, y, column));
        let above = corner(v.low, h.low).iter().zip(corner(v.low, h.high));
        let below = corner(v.high, h.low).iter().zip(corner(v.high, h.high));
        for ((out, (a, b)), (c, d)) in out.iter_mut().zip(above).zip(below) {
            *out = lerp(lerp(*a, *b, h.weight), lerp(*c, *d, h.weight), v.weight);
        }
    });
}

/// Planes of `height` × `width` resized to planes of the axes' lengths.
pub(super) fn resize_planes(
    planes: &[f32],
    (height, width): (usize, usize),
    (vertical, horizontal): (&Axis, &Axis),
    out: &mut [f32],
) {
    let out_height = vertical.0.len();
    let rows = out.par_chunks_exact_mut(horizontal.0.len()).enumerate();
    rows.for_each_init(
        || vec![0.0; width],
        |blended, (row, out)| {
            let plane = &planes[row / out_height * height * width..][..height * width];
            blend_rows(plane, vertical.0[row % out_height], blended);
            for (out, h) in out.iter_mut().zip(&horizontal.0) {
                *out = lerp(blended[h.low], blended[h.high], h.weight);
            }
        },
    );
}

/// The class with the greatest value at each pixel of resized planes `[N, classes, height, width]`, which are never
/// made. The first of equals wins; NaN never does.
pub(super) fn argmax_planes(
    planes: &[f32],
    (classes, height, width): (usize, usize, usize),
    (vertical, horizontal): (&Axis, &Axis),
    out: &mut [u8],
) {
    let (out_height, out_width) = (vertical.0.len(), horizontal.0.len());
    let rows = out.par_chunks_exact_mut(out_width).enumerate();
    rows.for_each_init(
        || (vec![0.0; width], vec![0.0; out_width]),
        |(blended, best), (row, ids)| {
            let (n, y) = (row / out_height, row % out_height);
            best.fill(f32::NEG_INFINITY);
            ids.fill(0);
            for class in 0..classes {
                let plane = &planes[(n * classes + class) * height * width..][..height * width];
                blend_rows(plane, vertical.0[y], blended);
                for ((id, best), h) in ids.iter_mut().zip(best.iter_mut()).zip(&horizontal.0) {
                    let value = lerp(blended[h.low], blended[h.high], h.weight);
                    if value > *best {
                        (*id, *best) = (class as u8, value);
                    }
                }
            }
        },
    );
}

fn blend_rows(plane: &[f32], v: Point, out: &mut [f32]) {
    let width = out.len();
    let (low, high) = (&plane[v.low * width..][..width], &plane[v.high * width..][..width]);
    for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
        *out = lerp(*low, *high, v.weight);
    }
}

fn lerp(a: f32, b: f32, weight: f32) -> f32 {
    a + (b - a) * weight
}
