//! Planes with room around their rows.

use super::simd::{Float, LANES};

/// The rows of a plane with padding on both sides, split by column into phases: value `i` of phase `p` is column
/// `i · phases + p`. Columns count from the first of the padding.
pub(super) struct Padded<T> {
    values: Vec<T>,
    before: usize,
    phases: usize,
    /// Values of a phase of a row.
    pitch: usize,
    columns: usize,
}

impl<T: Float> Padded<T> {
    /// Rows with at least `before` columns of padding before the first one. Columns up to `reach` are read, and further
    /// ones to the end of a vector.
    pub(super) fn new(rows: usize, columns: usize, before: usize, phases: usize, reach: usize, padding: T) -> Self {
        let before = before.next_multiple_of(phases);
        let pitch = (reach.max(columns) + before).div_ceil(phases) + 2 * LANES;
        Self { values: vec![padding; rows * phases * pitch], before, phases, pitch, columns }
    }

    /// The columns of padding before the first one.
    pub(super) fn before(&self) -> usize {
        self.before
    }

    pub(super) fn values(&self) -> &[T] {
        &self.values
    }

    /// Where a column of a row lies. The columns one stride apart follow it.
    pub(super) fn place(&self, row: usize, column: usize) -> usize {
        (row * self.phases + column % self.phases) * self.pitch + column / self.phases
    }

    /// Copies a plane.
    pub(super) fn fill(&mut self, plane: &[T]) {
        let row = self.phases * self.pitch;
        for (to, from) in self.values.chunks_mut(row).zip(plane.chunks(self.columns)) {
            for (phase, to) in to.chunks_mut(self.pitch).enumerate() {
                let to = &mut to[self.before / self.phases..];
                match self.phases {
                    1 => to[..from.len()].copy_from_slice(from),
                    2 => {
                        let pairs = from.as_chunks::<2>().0;
                        to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[phase]);
                        if phase == 0 && from.len() % 2 == 1 {
                            to[pairs.len()] = from[from.len() - 1];
                        }
                    }
                    phases => to.iter_mut().zip(from.iter().skip(phase).step_by(phases)).for_each(|(to, x)| *to = *x),
                }
            }
        }
    }
}
