//! Where an image lies in a network's input.

use crate::config::SizeRule;
use crate::graph::Size;

/// Where an image lies in a network's input: at the upper left, with the size `valid`; the rest is padding.
///
/// A size rule determines it from an image's size. Backwards, it maps the network's answer to the image's pixels: crop
/// to `valid`, then resize to `image`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The image's own size.
    pub image: Size,
    /// The size that the image is resized to; equal to `image` where it is not resized.
    pub valid: Size,
    /// The network's input, padding included.
    pub input: Size,
}

impl Geometry {
    /// Applies a size rule to an image's size.
    ///
    /// ```
    /// use candle_deeplab::config::SizeRule;
    /// use candle_deeplab::pixels::{Geometry, Size};
    ///
    /// let voc = SizeRule::Fit { height: 513, width: 513 };
    /// let geometry = Geometry::new(voc, Size::new(3024, 4032));
    /// assert_eq!(geometry.valid, Size::new(385, 513));
    /// assert_eq!(geometry.input, Size::new(513, 513));
    /// ```
    pub fn new(rule: SizeRule, image: Size) -> Self {
        let (height, width) = rule.network_size();
        let named = Size { height, width };
        let (valid, input) = match rule {
            SizeRule::Fit { .. } => (fit(image, named), named),
            SizeRule::Stretch { .. } => (named, named),
            SizeRule::Native { .. } => {
                (image, Size { height: height.max(image.height), width: width.max(image.width) })
            }
        };
        Self { image, valid, input }
    }
}

/// The largest size with the image's aspect ratio within `room`, each side rounded and at least 1.
fn fit(image: Size, room: Size) -> Size {
    let across = room.width as f64 / image.width as f64;
    let down = room.height as f64 / image.height as f64;
    let scale = across.min(down);
    let side = |side: usize, room: usize| ((side as f64 * scale).round() as usize).clamp(1, room);
    Size { height: side(image.height, room.height), width: side(image.width, room.width) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(rule: SizeRule, height: usize, width: usize) -> ([usize; 2], [usize; 2]) {
        let g = Geometry::new(rule, Size { height, width });
        assert_eq!(g.image, Size { height, width });
        ([g.valid.height, g.valid.width], [g.input.height, g.input.width])
    }

    #[test]
    fn fit_keeps_the_aspect_and_fills_one_side() {
        let rule = SizeRule::Fit { height: 513, width: 513 };
        assert_eq!(geometry(rule, 1026, 1026), ([513, 513], [513, 513]));
        assert_eq!(geometry(rule, 720, 1280), ([289, 513], [513, 513])); // 288.6
        assert_eq!(geometry(rule, 1280, 720), ([513, 289], [513, 513]));
        assert_eq!(geometry(rule, 100, 200), ([257, 513], [513, 513])); // 256.5, rounded up
        assert_eq!(geometry(rule, 513, 400), ([513, 400], [513, 513]));
        // However thin the image is, at least one pixel remains.
        assert_eq!(geometry(rule, 1, 65_536), ([1, 513], [513, 513]));
        assert_eq!(geometry(rule, 65_536, 1), ([513, 1], [513, 513]));
    }

    #[test]
    fn fit_works_for_oblong_networks() {
        let rule = SizeRule::Fit { height: 257, width: 513 };
        assert_eq!(geometry(rule, 257, 257), ([257, 257], [257, 513]));
        assert_eq!(geometry(rule, 100, 400), ([128, 513], [257, 513]));
    }

    #[test]
    fn stretch_scales_each_side_on_its_own() {
        assert_eq!(geometry(SizeRule::Stretch { height: 257, width: 300 }, 40, 999), ([257, 300], [257, 300]));
    }

    #[test]
    fn native_keeps_the_size_and_pads_to_the_least() {
        let rule = SizeRule::Native { height: 1025, width: 2049 };
        assert_eq!(geometry(rule, 1024, 2048), ([1024, 2048], [1025, 2049]));
        assert_eq!(geometry(rule, 1080, 1920), ([1080, 1920], [1080, 2049]));
        assert_eq!(geometry(rule, 3000, 4000), ([3000, 4000], [3000, 4000]));
    }
}
