//! Bilinear resizing along one axis: the position of each output among the inputs.

use std::ops::Range;

/// The outputs along one axis, each interpolated between two inputs.
#[derive(Debug)]
pub struct Axis(pub Vec<Lerp>);

/// Linear interpolation between two neighbouring inputs.
#[derive(Debug, Clone, Copy)]
pub struct Lerp {
    /// The input before the output's position.
    pub near: usize,
    /// The input after it: `near + 1`, or `near` at the end.
    pub far: usize,
    /// 0 at `near`, 1 at `far`.
    pub weight: f32,
}

impl Axis {
    /// Resizes `from` inputs to `to` outputs. Positions are computed in f32, as TensorFlow and PyTorch do. `from` is at
    /// least 1.
    pub fn new(from: usize, to: usize, align_corners: bool) -> Self {
        let lerp = |i| {
            let position = source_position(i, from, to, align_corners);
            let near = (position.floor() as usize).min(from - 1);
            Lerp { near, far: (near + 1).min(from - 1), weight: position - near as f32 }
        };
        Self((0..to).map(lerp).collect())
    }

    /// Inputs for each output. With aligned corners, a single output is at the first input.
    pub(crate) fn scale(from: usize, to: usize, align_corners: bool) -> f32 {
        match (align_corners, to) {
            (true, 0 | 1) => 0.0,
            (true, _) => (from - 1) as f32 / (to - 1) as f32,
            (false, _) => from as f32 / to as f32,
        }
    }

    /// The range of inputs that some of the outputs are computed from.
    pub(crate) fn sees(&self, outputs: Range<usize>) -> Range<usize> {
        match &self.0[outputs] {
            [first, .., last] => first.near..last.far + 1,
            [only] => only.near..only.far + 1,
            [] => 0..0,
        }
    }
}

impl Lerp {
    /// Interpolates between the inputs' values. A `far` of weight 0 is ignored even if it is infinite.
    pub fn blend(self, near: f32, far: f32) -> f32 {
        if self.weight == 0.0 { near } else { near + (far - near) * self.weight }
    }
}

/// The position of the output's pixel `i` in the input, in input pixels.
fn source_position(i: usize, from: usize, to: usize, align_corners: bool) -> f32 {
    let scale = Axis::scale(from, to, align_corners);
    let position = if align_corners { i as f32 * scale } else { (i as f32 + 0.5) * scale - 0.5 };
    position.clamp(0.0, (from - 1) as f32)
}
