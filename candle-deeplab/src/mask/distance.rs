//! Distance transforms of masks (Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled Functions", 2012).

use crate::graph::Size;
use crate::segment::LabelMap;

/// The squared distance from each cell of a mask to the nearest unset cell, row by row. Cells are `across` wide and 1
/// high. Cells outside the mask do not exist; if all cells are set, distances are infinite.
pub(super) fn squared_distances(mask: &[bool], width: usize, across: f32) -> Vec<f32> {
    let mut squared = vec![f32::INFINITY; mask.len()];
    for (mask, squared) in mask.chunks_exact(width).zip(squared.chunks_exact_mut(width)) {
        // Along a row: from the left, then from the right.
        let mut nearest = f32::INFINITY;
        for (set, squared) in mask.iter().zip(squared.iter_mut()) {
            nearest = if *set { nearest + across } else { 0.0 };
            *squared = nearest;
        }
        nearest = f32::INFINITY;
        for (set, squared) in mask.iter().zip(squared.iter_mut()).rev() {
            nearest = if *set { nearest + across } else { 0.0 };
            *squared = squared.min(nearest).powi(2);
        }
    }
    let height = mask.len() / width;
    let mut envelope = Envelope::default();
    let mut column = vec![0.0; height];
    for x in 0..width {
        (0..height).for_each(|y| column[y] = squared[y * width + x]);
        envelope.lower(&column, |y, value| squared[y * width + x] = value);
    }
    squared
}

impl LabelMap {
    /// The squared distance from each pixel to the nearest one with another id, in pixels between their centres, row by
    /// row; infinite in a map of one id.
    pub fn squared_distances_to_borders(&self) -> Vec<f32> {
        let Size { height, width } = self.size();
        let mut squared = vec![f32::INFINITY; self.ids().len()];
        if squared.is_empty() {
            return squared;
        }
        for (ids, squared) in self.ids().chunks_exact(width).zip(squared.chunks_exact_mut(width)) {
            // Along a row: the distances to the pixels before and behind each run.
            let mut start = 0;
            for run in ids.chunk_by(|a, b| a == b) {
                let end = start + run.len();
                for (x, squared) in (start..end).zip(&mut squared[start..end]) {
                    let before = if start > 0 { (x + 1 - start) as f32 } else { f32::INFINITY };
                    let behind = if end < width { (end - x) as f32 } else { f32::INFINITY };
                    *squared = before.min(behind).powi(2);
                }
                start = end;
            }
        }
        let mut envelope = Envelope::default();
        let (mut column, mut values) = (vec![], vec![]);
        for x in 0..width {
            column.clear();
            column.extend((0..height).map(|y| self.ids()[y * width + x]));
            // Down a column: nothing beyond the pixels above and below a run can be nearer than they.
            let mut start = 0;
            for run in column.chunk_by(|a, b| a == b) {
                let end = start + run.len();
                let (above, below) = (usize::from(start > 0), usize::from(end < height));
                values.clear();
                values.extend((0..above).map(|_| 0.0));
                values.extend((start..end).map(|y| squared[y * width + x]));
                values.extend((0..below).map(|_| 0.0));
                envelope.lower(&values, |place, value| {
                    if (above..above + run.len()).contains(&place) {
                        squared[(start + place - above) * width + x] = value;
                    }
                });
                start = end;
            }
        }
        squared
    }
}

/// The lower envelope of parabolas: the place and height of each, and from where on it is the lowest.
#[derive(Default)]
struct Envelope(Vec<(f32, f32, f32)>);

impl Envelope {
    /// Computes the lower envelope at each place, of parabolas that stand on `values`.
    fn lower(&mut self, values: &[f32], mut result: impl FnMut(usize, f32)) {
        self.0.clear();
        for (place, &height) in values.iter().enumerate().filter(|(_, height)| height.is_finite()) {
            let place = place as f32;
            let mut from = f32::NEG_INFINITY;
            while let Some(&(other, other_height, other_from)) = self.0.last() {
                from = ((height + place * place) - (other_height + other * other)) / (2.0 * (place - other));
                if from > other_from {
                    break;
                }
                self.0.pop();
                from = f32::NEG_INFINITY;
            }
            self.0.push((place, height, from));
        }
        let mut current = 0;
        for y in 0..values.len() {
            while self.0.get(current + 1).is_some_and(|(_, _, from)| *from <= y as f32) {
                current += 1;
            }
            if let Some((place, height, _)) = self.0.get(current) {
                result(y, (y as f32 - place).powi(2) + height);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn distances_to_borders_are_those_to_the_nearest_other_id(
            width in 1usize..9,
            height in 1usize..9,
            seed in proptest::collection::vec(0u8..3, 81),
            classes in 1u8..4,
        ) {
            let ids: Vec<u8> = seed[..width * height].iter().map(|id| id % classes).collect();
            let squared = LabelMap::new(ids.clone(), Size::new(height, width)).unwrap().squared_distances_to_borders();
            for (index, squared) in squared.iter().enumerate() {
                let to = |other: usize| {
                    let (dx, dy) = ((index % width).abs_diff(other % width), (index / width).abs_diff(other / width));
                    (dx * dx + dy * dy) as f32
                };
                let others = (0..ids.len()).filter(|other| ids[*other] != ids[index]);
                prop_assert_eq!(*squared, others.map(to).fold(f32::INFINITY, f32::min));
            }
        }

        #[test]
        fn distances_are_those_to_the_nearest_cell(
            width in 1usize..9,
            height in 1usize..9,
            seed in proptest::collection::vec(any::<bool>(), 81),
            across in 0.1f32..3.0,
        ) {
            let mask = &seed[..width * height];
            let squared = squared_distances(mask, width, across);
            for (index, squared) in squared.iter().enumerate() {
                let to = |other: usize| {
                    let dx = across * ((index % width) as f32 - (other % width) as f32);
                    let dy = (index / width) as f32 - (other / width) as f32;
                    dx * dx + dy * dy
                };
                let unset = (0..mask.len()).filter(|other| !mask[*other]);
                let nearest = unset.map(to).fold(f32::INFINITY, f32::min);
                prop_assert!(*squared == nearest || (squared - nearest).abs() < 1e-3, "{} {}", squared, nearest);
            }
        }
    }
}
