//! How much memory an image takes.

use super::Tiles;
use crate::error::Result;
use crate::model::DeepLab;
use crate::pixels::{Geometry, Size};

impl DeepLab {
    /// About how many bytes segmenting an image of a size takes beyond the weights and the image itself, at the largest
    /// of `scales` (1 without [`MultiScale`](super::MultiScale)): the feature maps and the answers. It is known before
    /// anything is allocated, and an estimate: executors differ in what they keep beside the network's own values.
    ///
    /// # Errors
    /// As [`Graph::sizes`](crate::graph::Graph::sizes).
    pub fn memory(&self, image: Size, tiles: Option<Tiles>, scales: &[f64]) -> Result<u64> {
        let answers = |size: Size| bytes(self.config().network.classes, size);
        let (input, kept) = match tiles {
            // A strip as high as a tile stays.
            Some(tiles) => (tiles.size(), answers(Size::new(tiles.size().height.min(image.height), image.width))),
            None => (Geometry::new(self.config().preprocessing.size, image).input, 0),
        };
        let scale = scales.iter().copied().fold(1.0, f64::max);
        let scaled = |side: usize| (side as f64 * scale).ceil() as usize;
        let network = self.graph().peak_bytes(scaled(input.height), scaled(input.width))?;
        // Executors keep their maps while the answer is made at the input's size. With several looks, the sum of the earlier ones, the new one resized, and its softmax.
        let looks = if scales.is_empty() { 0 } else { 3 };
        let beside = answers(input).saturating_mul(1 + looks).saturating_add(kept);
        Ok(network.saturating_add(beside).saturating_add(bytes(3, input)))
    }
}

/// Bytes of f32 planes.
fn bytes(planes: usize, size: Size) -> u64 {
    (planes as u64).saturating_mul(size.area() as u64).saturating_mul(size_of::<f32>() as u64)
}
