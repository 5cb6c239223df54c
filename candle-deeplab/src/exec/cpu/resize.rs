//! Bilinear resizing of maps inside the network, and of the logits at its end, which are stored as planes.

use rayon::prelude::*;

use super::view::{View, ViewMut, position};
use crate::graph::{Axis, Lerp, Size};
use crate::upsample::{Logits, winners};

/// Resizes `x` to the size of `out`.
pub(super) fn resize(x: View, (vertical, horizontal): (&Axis, &Axis), out: ViewMut) {
    let (height, width) = (out.height, out.width);
    out.for_each_pixel(|pixel, out| {
        let (n, oy, ox) = position(pixel, height, width);
        let (v, h) = (vertical.0[oy], horizontal.0[ox]);
        let corner = |y, column| x.at(x.pixel(n, y, column));
        let above = corner(v.near, h.near).iter().zip(corner(v.near, h.far));
        let below = corner(v.far, h.near).iter().zip(corner(v.far, h.far));
        for ((out, (a, b)), (c, d)) in out.iter_mut().zip(above).zip(below) {
            *out = v.blend(h.blend(*a, *b), h.blend(*c, *d));
        }
    });
}

/// Resizes planes to the lengths of the axes.
pub(super) fn resize_planes(
    planes: &[f32],
    Size { height, width }: Size,
    (vertical, horizontal): &(Axis, Axis),
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
                *out = h.blend(blended[h.near], blended[h.far]);
            }
        },
    );
}

/// The class with the greatest value at each pixel, as if planes `[N, classes, height, width]` were resized first. The
/// first of equals wins; NaN never does.
pub(super) fn argmax_planes(planes: &[f32], classes: usize, size: Size, axes: &(Axis, Axis), out: &mut [u8]) {
    let (plane, pixels) = (size.area(), axes.0.0.len() * axes.1.0.len());
    for (data, ids) in planes.chunks_exact(classes * plane).zip(out.chunks_exact_mut(pixels)) {
        winners(&Logits { data, classes, size, class_stride: plane, row_stride: size.width }, axes, ids);
    }
}

/// Interpolates a row between two rows of a plane.
fn blend_rows(plane: &[f32], v: Lerp, out: &mut [f32]) {
    let width = out.len();
    let (near, far) = (&plane[v.near * width..][..width], &plane[v.far * width..][..width]);
    for ((out, near), far) in out.iter_mut().zip(near).zip(far) {
        *out = v.blend(*near, *far);
    }
}
