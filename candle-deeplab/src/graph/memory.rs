//! The memory that a network's feature maps need.

use super::Graph;
use crate::error::Result;

impl Graph {
    /// The peak memory of f32 feature maps, in bytes, for one image of `height` × `width`, if each map lives from the
    /// node that computes it to its last use. Weights and an executor's scratch memory are not counted.
    ///
    /// # Errors
    /// As [`Graph::sizes`].
    pub fn peak_bytes(&self, height: usize, width: usize) -> Result<u64> {
        let sizes = self.sizes(height, width)?;
        let mut last_use: Vec<usize> = (0..self.nodes().len()).collect();
        for (index, node) in self.nodes().iter().enumerate() {
            node.reads().iter().for_each(|input| last_use[input.index()] = index);
        }
        let bytes = |index: usize| {
            let floats = (self.nodes()[index].channels as u64).saturating_mul(sizes[index].area() as u64);
            floats.saturating_mul(size_of::<f32>() as u64)
        };
        let mut freed_after: Vec<Vec<usize>> = vec![vec![]; self.nodes().len()];
        last_use.iter().enumerate().for_each(|(index, last)| freed_after[*last].push(index));
        let (mut now, mut peak) = (0u64, 0);
        for (index, freed) in freed_after.iter().enumerate() {
            now = now.saturating_add(bytes(index));
            peak = peak.max(now);
            now = freed.iter().fold(now, |now, index| now.saturating_sub(bytes(*index)));
        }
        Ok(peak)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Builder, Conv, Normalization};

    #[test]
    fn a_value_counts_until_its_last_use() {
        let (mut g, x) = Builder::new(3, Normalization::Folded);
        let a = g.conv("a", x, Conv::pointwise(10));
        let b = g.conv("b", a, Conv::pointwise(1));
        let c = g.conv("c", b, Conv::pointwise(2));
        let d = g.add(c, c);
        let graph = g.finish(d).unwrap();
        // While `a` (10 channels) is computed from the input (3).
        assert_eq!(graph.peak_bytes(2, 5).unwrap(), 4 * 10 * 13);
    }
}
