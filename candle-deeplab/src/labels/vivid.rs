//! Colours that are easy to tell apart.

use super::{Labels, MAX_CLASSES, ade20k, cityscapes, voc};

/// Chosen as by Glasbey et al. ("Colour displays for categorical images", 2007): each colour is as far from all others
/// as possible; see `assets/palette/vivid.py`. The first twenty differ the most.
const COLORS: [u32; 255] = [
    0x1860ff, 0xc0ff00, 0xc01800, 0x6ce4ff, 0xff6ca8, 0xe49000, 0xc00060, 0x6c90ff, 0x6cff90, 0x54ffe4, 0x00ccc0,
    0xcccc48, 0xc000c0, 0x00c0ff, 0xff6c60, 0xd86000, 0xf01854, 0xd860c0, 0x30d890, 0xf0189c, 0xcc5478, 0xc00090,
    0xc0243c, 0x009ccc, 0xff5478, 0xcc4824, 0x00cce4, 0x00ffb4, 0xccf060, 0x0ce4c0, 0x186cc0, 0x0084e4, 0xff3c48,
    0xff9054, 0x60e46c, 0xff2484, 0xffa800, 0x3ca8f0, 0xc0e400, 0x48e4e4, 0xcc3084, 0xd81860, 0x00ffff, 0xd818a8,
    0xff48a8, 0x00b4d8, 0xf0783c, 0xcc30d8, 0xe4486c, 0x24f090, 0xcc3c3c, 0x00d86c, 0x6cccff, 0xe4780c, 0xe45490,
    0x906cff, 0xff60cc, 0x60f0c0, 0xe46060, 0x00c084, 0xc00c78, 0x546cd8, 0xc00048, 0x78cc0c, 0xf02430, 0x3ccc9c,
    0xc0549c, 0xc000a8, 0xf03cb4, 0xcc2424, 0x00cc78, 0xcc30c0, 0x00e4a8, 0xb400ff, 0x009ce4, 0xc03c6c, 0x18f0d8,
    0xe42400, 0xff3ccc, 0xf06030, 0xb4e454, 0x00ff78, 0x9c00e4, 0x3ccc48, 0xf060b4, 0x0cc060, 0x30d8e4, 0xd80090,
    0xcc603c, 0xe4f048, 0xc03054, 0x6cd8ff, 0xff2454, 0x30a8d8, 0xff60f0, 0xd83c6c, 0xf06090, 0xb4d824, 0xcc0030,
    0xd82478, 0xf01878, 0xd80c0c, 0x00d8c0, 0xd84890, 0xf00cb4, 0x3cffcc, 0xe43060, 0x48f0a8, 0xf018e4, 0xc03c48,
    0x00b4ff, 0x60f0ff, 0xf0a83c, 0xff5454, 0xff183c, 0xff3000, 0xe43084, 0x6c9cff, 0xff18a8, 0xe40c3c, 0xc0a830,
    0xc00c24, 0x18fff0, 0x60f0f0, 0xff549c, 0x24e490, 0x00d8a8, 0x48f078, 0x3ccc60, 0x6cffa8, 0xd83c48, 0xcc0c60,
    0xcc0ca8, 0xff48f0, 0x48f0cc, 0xcc1878, 0x00c0d8, 0x30e448, 0xf0489c, 0x00e4d8, 0x6cd860, 0xf024cc, 0xd80c48,
    0xa830cc, 0xc03c90, 0x0090e4, 0xd81830, 0xc0246c, 0xd86084, 0x54d884, 0xa800f0, 0xe48424, 0xf05478, 0x54e484,
    0xc054f0, 0x24ccb4, 0x00d8d8, 0xcc309c, 0x24e4f0, 0xd854a8, 0xff246c, 0xcc0084, 0xff4860, 0xd86c24, 0x00ffd8,
    0x24cccc, 0x3cccd8, 0x3cd830, 0x3cd8cc, 0x3cd8f0, 0x3084cc, 0xd84830, 0x48f0e4, 0x48c078, 0x9cf030, 0x48e4cc,
    0xff6cd8, 0x24ccf0, 0x90e460, 0x3c78e4, 0xc030b4, 0x48cc90, 0xe40c54, 0xc0249c, 0xf03c48, 0x00f0b4, 0xcc48b4,
    0x00c0b4, 0x84ff6c, 0xf0606c, 0xcc54c0, 0x60a8e4, 0xf03060, 0x54e4b4, 0xe424a8, 0x6078d8, 0xcc3c6c, 0x00d8b4,
    0xe4e448, 0xf09048, 0x6c84ff, 0x18d89c, 0xf02490, 0xc00054, 0xf060d8, 0xcc0018, 0x48c0e4, 0x6cffc0, 0xf01818,
    0xff9000, 0x00c0a8, 0x54cc84, 0x54c06c, 0x18ff9c, 0x00c090, 0xc0006c, 0xcc243c, 0xd83084, 0xe45478, 0x30cca8,
    0x60e49c, 0xd824cc, 0x489cf0, 0xc00084, 0x60d878, 0xffcc54, 0xb460d8, 0xff4824, 0xf08448, 0xff6c90, 0xd80054,
    0xff60a8, 0xc030f0, 0xf06084, 0x60f09c, 0x24cc6c, 0x00b4f0, 0xff6c9c, 0xd848cc, 0xff6cb4, 0xb424d8, 0xf060c0,
    0x78cc54, 0xff906c, 0xcc00e4, 0xff6048, 0x60f06c, 0xc000b4, 0x78f060, 0xd8609c, 0xf018c0, 0x24e478, 0x54b4e4,
    0xf0b430, 0x0084ff,
];
/// The index of each class's colour, without the background: classes that often appear together are far apart.
const VOC: [u8; 20] = [19, 4, 13, 14, 5, 11, 3, 6, 7, 17, 16, 10, 8, 18, 0, 9, 15, 1, 2, 12];
const CITYSCAPES: [u8; 19] = [12, 4, 15, 10, 17, 7, 14, 8, 18, 1, 13, 2, 3, 0, 5, 9, 6, 11, 16];
const ADE20K: [u8; 150] = [
    55, 82, 52, 164, 214, 225, 62, 0, 2, 1, 23, 30, 209, 14, 63, 243, 122, 120, 118, 81, 176, 7, 73, 66, 94, 244, 61,
    226, 92, 89, 187, 191, 167, 28, 154, 254, 108, 117, 199, 13, 11, 88, 188, 36, 42, 38, 97, 143, 136, 35, 91, 160,
    180, 25, 114, 166, 195, 111, 58, 15, 74, 3, 174, 190, 148, 212, 242, 24, 144, 5, 170, 198, 85, 207, 219, 67, 87,
    60, 12, 165, 57, 237, 115, 249, 229, 230, 239, 27, 53, 72, 44, 17, 75, 133, 109, 112, 79, 200, 46, 45, 178, 77,
    147, 211, 227, 59, 20, 21, 78, 158, 6, 90, 64, 104, 210, 83, 110, 98, 177, 213, 50, 8, 141, 129, 113, 253, 175,
    222, 31, 220, 84, 232, 205, 47, 124, 43, 162, 103, 39, 70, 48, 102, 22, 51, 245, 99, 224, 56, 145, 163,
];

impl Labels {
    /// A colour for each class, by its id, that is easy to tell from the others on any photograph. The colours are
    /// vivid; the first twenty differ in lightness as well as in hue, so that colour-blind people can distinguish them,
    /// too.
    ///
    /// A class always has the same colour. In VOC, Cityscapes and ADE20K, classes that often appear together have
    /// colours that are far apart; the classes of other labels get the palette's colours in order, the most different
    /// ones first. The background and ids beyond the classes are black.
    ///
    /// ```
    /// use candle_deeplab::labels::Labels;
    ///
    /// let colors = Labels::voc().vivid();
    /// assert_eq!((colors[0], colors[255]), ([0; 3], [0; 3]));
    /// assert_ne!(colors[8], colors[12]);
    /// ```
    pub fn vivid(&self) -> [[u8; 3]; MAX_CLASSES] {
        let classes: Vec<usize> =
            (0..self.names.len().min(MAX_CLASSES)).filter(|class| self.background != Some(*class as u8)).collect();
        let named = |known: &[&str]| classes.iter().map(|class| &self.names[*class]).eq(known);
        let names = |rows: &[(&'static str, [u8; 3])]| rows.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let known: Option<&[u8]> = if named(&voc::NAMES[1..]) {
            Some(&VOC)
        } else if named(&names(&cityscapes::ROWS)) {
            Some(&CITYSCAPES)
        } else if named(&names(&ade20k::ROWS)) {
            Some(&ADE20K)
        } else {
            None
        };
        let mut colors = [[0; 3]; MAX_CLASSES];
        for (place, class) in classes.into_iter().enumerate() {
            let slot = known.map_or(place, |known| usize::from(known[place]));
            let [_, rgb @ ..] = COLORS[slot % COLORS.len()].to_be_bytes();
            colors[class] = rgb;
        }
        colors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps linear red, green and blue to what eyes without one kind of cone see (Machado, Oliveira and Fernandes 2009,
    /// table 1, severity 1).
    const DEUTERANOPIA: [[f64; 3]; 3] =
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]];
    const PROTANOPIA: [[f64; 3]; 3] =
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]];
    const NORMAL: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

    fn times(matrix: &[[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| (0..3).map(|i| row[i] * v[i]).sum())
    }

    /// CIELAB with the white point D65.
    fn lab(color: [u8; 3], eyes: &[[f64; 3]; 3]) -> [f64; 3] {
        const XYZ: [[f64; 3]; 3] =
            [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]];
        let linear = color.map(|value| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        let seen = times(eyes, linear).map(|value| value.clamp(0.0, 1.0));
        let xyz = times(&XYZ, seen);
        let f = |value: f64| if value > 0.008856 { value.cbrt() } else { 7.787 * value + 16.0 / 116.0 };
        let [x, y, z] = [f(xyz[0] / 0.95047), f(xyz[1]), f(xyz[2] / 1.08883)];
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// The least CIE76 distance of two colours, as normal, deuteranopic and protanopic eyes see them.
    fn least(colors: &[[u8; 3]]) -> [f64; 3] {
        [NORMAL, DEUTERANOPIA, PROTANOPIA].map(|eyes| least_for(colors, &eyes))
    }

    fn least_for(colors: &[[u8; 3]], eyes: &[[f64; 3]; 3]) -> f64 {
        let count = colors.len();
        let colors: Vec<[f64; 3]> = colors.iter().map(|color| lab(*color, eyes)).collect();
        let distance = |a: &[f64; 3], b: &[f64; 3]| (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt();
        let pairs = (0..count).flat_map(|i| (0..i).map(move |j| (i, j)));
        pairs.map(|(i, j)| distance(&colors[i], &colors[j])).fold(f64::INFINITY, f64::min)
    }

    fn rgb(color: u32) -> [u8; 3] {
        let [_, rgb @ ..] = color.to_be_bytes();
        rgb
    }

    /// A difference of 2.3 is just noticeable.
    #[test]
    fn no_two_of_the_first_colours_look_alike_to_anybody() {
        let colors: Vec<[u8; 3]> = COLORS.into_iter().map(rgb).collect();
        for (count, normal, blind) in [(8, 24.0, 24.0), (20, 18.0, 11.0), (150, 4.0, 2.5), (255, 4.0, 1.9)] {
            let seen = least(&colors[..count]);
            assert!(seen[0] >= normal && seen[1] >= blind && seen[2] >= blind, "{count}: {seen:?}");
        }
    }

    #[test]
    fn the_data_sets_own_colours_are_more_alike() {
        for (labels, background) in [(Labels::voc(), 1), (Labels::cityscapes(), 0)] {
            let own = least(&labels.palette[background..]);
            let vivid = least(&labels.vivid()[background..labels.names.len()]);
            let better = vivid[0] > own[0] && vivid[1] > 2.0 * own[1] && vivid[2] > 2.0 * own[2];
            assert!(better, "{}: {own:?} {vivid:?}", labels.dataset);
        }
    }

    #[test]
    fn colours_are_vivid_and_neither_dark_nor_pale() {
        for color in COLORS.map(rgb) {
            let [lightness, a, b] = lab(color, &NORMAL);
            let chroma = a.hypot(b);
            assert!((36.0..=96.0).contains(&lightness) && chroma >= 30.0, "{color:?}: {lightness} {chroma}");
        }
    }

    #[test]
    fn every_class_of_known_data_sets_has_a_colour_of_its_own() {
        for name in Labels::BUILTIN {
            let labels = Labels::builtin(name).unwrap();
            let colors = labels.vivid();
            let drawn = (0..labels.names.len()).filter(|class| labels.background != Some(*class as u8));
            let different: std::collections::HashSet<_> = drawn.clone().map(|class| colors[class]).collect();
            assert_eq!(different.len(), drawn.count(), "{name}");
            assert!(!different.contains(&[0; 3]), "{name}");
        }
        assert_eq!(Labels::ade20k().vivid()[1..151], Labels::ade20k_150().vivid()[..150]);
    }

    #[test]
    fn unknown_classes_have_the_colours_in_their_order() {
        let mut labels = Labels::numbered(256);
        labels.background = Some(1);
        let colors = labels.vivid();
        assert_eq!([colors[0], colors[1], colors[2]], [rgb(COLORS[0]), [0; 3], rgb(COLORS[1])]);
        assert_eq!(colors[255], rgb(COLORS[254]));
    }
}
