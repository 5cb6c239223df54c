//! How a step is computed at an input size.

use std::fmt;

use crate::graph::{Axis, Window};

/// The part of a step that depends on sizes.
#[derive(Debug)]
pub(super) enum Geometry {
    /// Each pixel is computed from the pixels at the same place.
    Pointwise,
    Windows((Window, Window)),
    /// By [Winograd's algorithm](super::winograd), in patches that see this many inputs along an axis.
    Winograd((Window, Window), usize),
    Resize((Axis, Axis)),
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Winograd(..)) { " (Winograd)" } else { "" })
    }
}
