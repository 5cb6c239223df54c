//! Random changes of colour: `PhotoMetricDistortion` of mmsegmentation (after Liu et al. 2016, SSD).

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How much colours change. Each of the four changes happens with probability one half, and contrast either before
/// saturation and hue or after them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Photometric {
    /// The most that is added to or taken from all values, which go from 0 to 255.
    pub brightness: f32,
    /// The least and the largest factor of all values.
    pub contrast: [f32; 2],
    /// The least and the largest factor of the saturation (of HSV).
    pub saturation: [f32; 2],
    /// The most that hues turn, in degrees (mmsegmentation's 18 is in units of two degrees).
    pub hue: f32,
}

/// One change, ready to be applied.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// Brightness, and contrast if it comes first.
    before: [u8; 256],
    saturation: f32,
    /// In sixths of a circle.
    hue: f32,
    /// Contrast, if it comes last.
    after: [u8; 256],
}

impl Default for Photometric {
    fn default() -> Self {
        Self { brightness: 32.0, contrast: [0.5, 1.5], saturation: [0.5, 1.5], hue: 36.0 }
    }
}

impl Photometric {
    pub(super) fn validate(&self) -> Result<()> {
        let wrong = |setting: &str, reason: &str| Err(Error::recipe(&format!("augment.photometric.{setting}"), reason));
        let is_range = |[least, most]: [f32; 2]| least >= 0.0 && least <= most && most <= 100.0;
        if !(0.0..=255.0).contains(&self.brightness) {
            return wrong("brightness", "it must be from 0 to 255");
        }
        if !is_range(self.contrast) {
            return wrong("contrast", "it must be two factors, the least and the largest, from 0 to 100");
        }
        if !is_range(self.saturation) {
            return wrong("saturation", "it must be two factors, the least and the largest, from 0 to 100");
        }
        if !(0.0..=180.0).contains(&self.hue) {
            return wrong("hue", "it must be an angle from 0 to 180 degrees");
        }
        Ok(())
    }

    pub(super) fn draw(&self, random: &mut impl Rng) -> Change {
        // As many numbers are drawn for each image, whatever happens to it.
        let mut maybe = |[least, most]: [f32; 2]| {
            let (happens, value) = (random.random::<bool>(), random.random_range(least..=most));
            happens.then_some(value)
        };
        let added = maybe([-self.brightness, self.brightness]).unwrap_or(0.0);
        let contrast = maybe(self.contrast).unwrap_or(1.0);
        let saturation = maybe(self.saturation).unwrap_or(1.0);
        let hue = maybe([-self.hue, self.hue]).unwrap_or(0.0) / 60.0;
        let is_first = random.random::<bool>();
        let (first, last) = if is_first { (contrast, 1.0) } else { (1.0, contrast) };
        Change { before: chain(table(1.0, added), table(first, 0.0)), saturation, hue, after: table(last, 0.0) }
    }
}

/// `factor · value + added` of each value, cut to 0–255 and to whole numbers as mmsegmentation's `convert` does.
fn table(factor: f32, added: f32) -> [u8; 256] {
    std::array::from_fn(|value| (value as f32 * factor + added) as u8)
}

/// One table after another.
fn chain(first: [u8; 256], second: [u8; 256]) -> [u8; 256] {
    first.map(|value| second[usize::from(value)])
}

impl Change {
    /// Changes the colours of some pixels: red, green and blue of one after the other.
    pub(super) fn apply(&self, pixels: &mut [u8]) {
        let changes_colors = self.saturation != 1.0 || self.hue != 0.0;
        for pixel in pixels.as_chunks_mut::<3>().0 {
            let before = pixel.map(|value| self.before[usize::from(value)]);
            let turned = if changes_colors { turn(before, self.saturation, self.hue) } else { before };
            *pixel = turned.map(|value| self.after[usize::from(value)]);
        }
    }
}

/// Multiplies the saturation of a colour and turns its hue by sixths of a circle, in HSV.
fn turn(color: [u8; 3], saturation: f32, sixths: f32) -> [u8; 3] {
    let [red, green, blue] = color.map(f32::from);
    let value = red.max(green).max(blue);
    let chroma = value - red.min(green).min(blue);
    if chroma == 0.0 {
        return color;
    }
    let hue = if value == red {
        (green - blue) / chroma
    } else if value == green {
        2.0 + (blue - red) / chroma
    } else {
        4.0 + (red - green) / chroma
    };
    // Saturation is chroma over value, and at most 1.
    let chroma = (chroma * saturation).min(value);
    // At least −1 − 3 + 6.
    let hue = hue + sixths + 6.0;
    let channel = |offset: f32| {
        let at = offset + hue;
        let at = at - 6.0 * (at * (1.0 / 6.0)).floor();
        (value - chroma * at.min(4.0 - at).clamp(0.0, 1.0) + 0.5) as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Python's `colorsys.rgb_to_hsv` and `hsv_to_rgb`, rounded: (colour, factor of saturation, degrees, result).
    const GOLDEN: [([u8; 3], f32, f32, [u8; 3]); 32] = [
        ([200, 30, 30], 1.0, 36.0, [200, 132, 30]),
        ([200, 30, 30], 1.5, -36.0, [200, 0, 120]),
        ([200, 30, 30], 0.5, 0.0, [200, 115, 115]),
        ([200, 30, 30], 1.3, 180.0, [0, 200, 200]),
        ([30, 200, 90], 1.0, 36.0, [30, 200, 192]),
        ([30, 200, 90], 1.5, -36.0, [49, 200, 0]),
        ([30, 200, 90], 0.5, 0.0, [115, 200, 145]),
        ([30, 200, 90], 1.3, 180.0, [200, 0, 129]),
        ([10, 40, 250], 1.0, 36.0, [124, 10, 250]),
        ([10, 40, 250], 1.5, -36.0, [0, 181, 250]),
        ([10, 40, 250], 0.5, 0.0, [130, 145, 250]),
        ([10, 40, 250], 1.3, 180.0, [250, 219, 0]),
        ([128, 100, 90], 1.0, 36.0, [128, 123, 90]),
        ([128, 100, 90], 1.5, -36.0, [128, 71, 90]),
        ([128, 100, 90], 0.5, 0.0, [128, 114, 109]),
        ([128, 100, 90], 1.3, 180.0, [79, 115, 128]),
        ([255, 255, 0], 1.0, 36.0, [102, 255, 0]),
        ([255, 255, 0], 1.5, -36.0, [255, 102, 0]),
        ([255, 255, 0], 0.5, 0.0, [255, 255, 128]),
        ([255, 255, 0], 1.3, 180.0, [0, 0, 255]),
        ([3, 2, 1], 1.0, 36.0, [3, 3, 1]),
        ([3, 2, 1], 1.5, -36.0, [3, 0, 0]),
        ([3, 2, 1], 0.5, 0.0, [3, 3, 2]),
        ([3, 2, 1], 1.3, 180.0, [0, 2, 3]),
        ([77, 77, 77], 1.0, 36.0, [77, 77, 77]),
        ([77, 77, 77], 1.5, -36.0, [77, 77, 77]),
        ([77, 77, 77], 0.5, 0.0, [77, 77, 77]),
        ([77, 77, 77], 1.3, 180.0, [77, 77, 77]),
        ([250, 251, 252], 1.0, 36.0, [250, 250, 252]),
        ([250, 251, 252], 1.5, -36.0, [249, 252, 252]),
        ([250, 251, 252], 0.5, 0.0, [251, 251, 252]),
        ([250, 251, 252], 1.3, 180.0, [252, 251, 249]),
    ];

    #[test]
    fn hue_and_saturation_are_those_of_hsv() {
        for (color, saturation, degrees, expected) in GOLDEN {
            let turned = turn(color, saturation, degrees / 60.0);
            let near = turned.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1);
            assert!(near, "{color:?} × {saturation}, {degrees}°: {turned:?} and not {expected:?}");
        }
    }

    #[test]
    fn a_change_is_brightness_contrast_and_colour_in_order() {
        let none = Change { before: table(1.0, 0.0), saturation: 1.0, hue: 0.0, after: table(1.0, 0.0) };
        let changed = |change: &Change| {
            let mut pixel = [10, 100, 200];
            change.apply(&mut pixel);
            pixel
        };
        assert_eq!(changed(&none), [10, 100, 200]);
        let bright = Change { before: chain(table(1.0, 32.0), table(1.5, 0.0)), ..none.clone() };
        assert_eq!(changed(&bright), [63, 198, 255]);
        assert_eq!(changed(&Change { before: table(1.0, -32.0), ..none.clone() }), [0, 68, 168]);
        // Without saturation all channels are the largest.
        assert_eq!(changed(&Change { saturation: 0.0, after: table(0.5, 0.0), ..none }), [100; 3]);
    }

    #[test]
    fn each_change_happens_to_about_half_of_the_images() {
        let mut random = crate::random::named(1, "photometric");
        let changes: Vec<Change> = (0..2000).map(|_| Photometric::default().draw(&mut random)).collect();
        let share = |happens: fn(&Change) -> bool| changes.iter().filter(|change| happens(change)).count();
        assert!((900..1100).contains(&share(|change| change.saturation != 1.0)));
        assert!((900..1100).contains(&share(|change| change.hue != 0.0)));
        // Contrast comes last in a quarter.
        assert!((400..600).contains(&share(|change| change.after != table(1.0, 0.0))));
        assert!(changes.iter().all(|change| change.hue.abs() <= 0.6 && (0.5..=1.5).contains(&change.saturation)));
    }
}
