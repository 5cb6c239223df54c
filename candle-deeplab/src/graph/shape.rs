//! Computes the size of every value from the size of the input.

use super::{Graph, Op, Size};
use crate::error::{Error, Result};

/// The largest input side that shapes are computed for; far above any image, far below an overflow.
const MAX_SIDE: usize = 1 << 16;

impl Graph {
    /// Height and width of every value for an input of `height` × `width`, in node order.
    ///
    /// # Errors
    /// [`Error::Graph`] naming the first node that the input is too small (or too large) for.
    pub fn sizes(&self, height: usize, width: usize) -> Result<Vec<Size>> {
        let mut sizes: Vec<Size> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let fail = |reason: String| Error::Graph { node: node.path.clone(), reason };
            let input = |i: usize| node.inputs.get(i).map_or(Size { height, width }, |x| sizes[x.index()]);
            let size = match node.op {
                Op::Input => {
                    if !(1..=MAX_SIDE).contains(&height) || !(1..=MAX_SIDE).contains(&width) {
                        return Err(fail(format!("an input of {height}×{width} is outside 1…{MAX_SIDE} a side")));
                    }
                    Size { height, width }
                }
                Op::Conv(_) | Op::MaxPool(_) => {
                    let fitted = node.windows().and_then(|windows| windows.over(input(0)));
                    let (vertical, horizontal) =
                        fitted.ok_or_else(|| fail(format!("its window does not fit an input of {}", input(0))))?;
                    Size { height: vertical.output, width: horizontal.output }
                }
                Op::Add | Op::Concat | Op::Multiply => {
                    for i in 1..node.inputs.len() {
                        let per_channel = node.op == Op::Multiply && input(i) == Size::new(1, 1);
                        if input(i) != input(0) && !per_channel {
                            return Err(fail(format!("joins maps of {} and {}", input(0), input(i))));
                        }
                    }
                    input(0)
                }
                Op::Resize { .. } => input(1),
                Op::GlobalPool => Size::new(1, 1),
                Op::BatchNorm { .. } | Op::Activation(_) => input(0),
            };
            sizes.push(size);
        }
        Ok(sizes)
    }
}
