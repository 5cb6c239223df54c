//! Fills in unknown colours from the colours around them.

use crate::graph::{Axis, Lerp};

/// A picture with a weight for each pixel.
struct Level {
    colors: Vec<[f32; 3]>,
    /// The weight of each colour, from 0 to 1.
    weights: Vec<f32>,
    width: usize,
}

/// Keeps the colours where `weights` is 1, and continues them smoothly elsewhere: the picture is halved until there is
/// one pixel, and each level is filled in from the next smaller one (Gortler et al., "The Lumigraph", 1996, section
/// 3.4). Black where nothing is known.
pub(super) fn filled(colors: &[[f32; 3]], weights: Vec<f32>, width: usize) -> Vec<[f32; 3]> {
    let mut levels = vec![Level { colors: colors.to_vec(), weights, width }];
    while let Some(next) = levels.last().and_then(Level::halved) {
        levels.push(next);
    }
    let mut below = Level { colors: vec![[0.0; 3]], weights: vec![0.0], width: 1 };
    for mut level in levels.into_iter().rev() {
        level.fill(&below);
        below = level;
    }
    below.colors
}

impl Level {
    fn height(&self) -> usize {
        self.colors.len() / self.width
    }

    /// The picture at half the size; `None` for a single pixel.
    fn halved(&self) -> Option<Self> {
        if self.colors.len() <= 1 {
            return None;
        }
        let (width, height) = (self.width.div_ceil(2), self.height().div_ceil(2));
        let (mut colors, mut weights) = (vec![], vec![]);
        for y in 0..height {
            for x in 0..width {
                let (mut color, mut weight, mut count) = ([0.0; 3], 0.0, 0.0);
                for y in 2 * y..(2 * y + 2).min(self.height()) {
                    for index in y * self.width + 2 * x..y * self.width + (2 * x + 2).min(self.width) {
                        (0..3).for_each(|i| color[i] += self.weights[index] * self.colors[index][i]);
                        weight += self.weights[index];
                        count += 1.0;
                    }
                }
                colors.push(color.map(|value| if weight > 0.0 { value / weight } else { 0.0 }));
                weights.push((4.0 * weight / count).min(1.0));
            }
        }
        Some(Self { colors, weights, width })
    }

    /// Fills in from a smaller picture, where this one's weight is less than 1.
    fn fill(&mut self, smaller: &Self) {
        let columns = Axis::new(smaller.width, self.width, false).0;
        let rows = Axis::new(smaller.height(), self.height(), false).0;
        let between = |lerp: &Lerp, a: [f32; 3], b: [f32; 3]| std::array::from_fn(|i| lerp.blend(a[i], b[i]));
        for (y, row) in rows.iter().enumerate() {
            for (x, column) in columns.iter().enumerate() {
                let index = y * self.width + x;
                let weight = self.weights[index];
                if weight >= 1.0 {
                    continue;
                }
                let at = |y: usize, x: usize| smaller.colors[y * smaller.width + x];
                let along = |y: usize| between(column, at(y, column.near), at(y, column.far));
                let other: [f32; 3] = between(row, along(row.near), along(row.far));
                (0..3).for_each(|i| self.colors[index][i] = other[i] + (self.colors[index][i] - other[i]) * weight);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours_stay_and_others_come_from_around() {
        // Red on the left, blue on the right, nothing between.
        let colors: Vec<[f32; 3]> =
            (0..64 * 20).map(|i| if i % 64 < 32 { [1.0, 0.0, 0.0] } else { [0.0, 0.0, 1.0] }).collect();
        let weights = (0..64 * 20).map(|i| if (20..44).contains(&(i % 64)) { 0.0 } else { 1.0 }).collect();
        let filled = filled(&colors, weights, 64);
        let row = &filled[10 * 64..11 * 64];
        assert_eq!((row[0], row[19], row[44]), ([1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]));
        assert!(row[22][0] > 0.85 && row[41][2] > 0.85, "{row:?}");
        assert!(row.windows(2).all(|pair| pair[1][0] <= pair[0][0] + 0.02), "{row:?}");
    }

    #[test]
    fn nothing_known_is_black() {
        for (width, height) in [(1, 1), (5, 3), (1, 9)] {
            assert_eq!(
                filled(&vec![[0.5; 3]; width * height], vec![0.0; width * height], width),
                vec![[0.0; 3]; width * height]
            );
        }
    }
}
